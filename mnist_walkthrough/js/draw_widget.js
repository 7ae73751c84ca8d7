import { draw } from "./draw.js";

export default { render: draw };
