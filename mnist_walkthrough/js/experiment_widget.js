import { experiment } from "./experiment.js";

export default { render: experiment };
