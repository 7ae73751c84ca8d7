// What brings the guesses of a page to life where no notebook's kernel runs: the truth stands in the page.
import { answer, ask } from "./guess.js";

/**
 * All elements of a class, each with what it holds as JSON in its attribute `data-...`.
 * @param {string} name
 */
function all(name) {
  /** @type {NodeListOf<HTMLElement>} */
  const found = document.querySelectorAll(`div.mnist-${name}`);
  return [...found].map((el) => ({ el, ...JSON.parse(el.dataset[name] ?? "") }));
}

const truths = all("truth");
for (const { el, ...question } of all("guess")) {
  const found = truths.find(({ name }) => name === question.name);
  const show = ask(el, question, (guess) => {
    show(guess, found?.truth);
    if (found) answer(found.el, guess, found.truth);
  });
}
