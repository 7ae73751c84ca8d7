import { answer, ask } from "./guess.js";

/**
 * @param {{ model: import("./draw.js").Model, el: HTMLElement }} place where a question is, or its answer
 */
function render({ model, el }) {
  const question = model.get("question");
  const give = (/** @type {string} */ guess) => {
    model.set("guess", guess);
    model.save_changes();
  };
  const show = question.choices ? ask(el, question, give) : answer.bind(null, el);
  const update = () => show(model.get("guess"), model.get("truth"));
  model.on("change:guess", update);
  model.on("change:truth", update);
  update();
}

export default { render };
