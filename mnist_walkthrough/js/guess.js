// A guess before a cell is run: a form at the question; guess and truth side by side, there and at the answer.
import { element } from "./dom.js";

const OWN_KEYS = { "data-lm-suppress-shortcuts": "" }; // JupyterLab leaves the keys to these elements

/**
 * @typedef {object} Question
 * @property {string[]} choices what to choose from; a number is asked for if there are none
 * @property {string} unit of the number
 */

/**
 * Put the form in which a guess is given.
 * @param {HTMLElement} el
 * @param {Question} question
 * @param {(guess: string) => void} give is called with the guess, as it is to be shown
 * @returns {(guess: string, truth: string) => void} shows what is known by now; what is not is empty
 */
export function ask(el, { choices, unit }, give) {
  const form = element(
    "form",
    {
      className: "mnist-row",
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        form.requestSubmit(); // in JupyterLab the browser does not do it by itself
      },
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        const given = String(new FormData(form).get("guess"));
        give(choices.length > 0 ? given : `${number(given)} ${unit}`.trim());
      },
    },
    choices.length > 0 ? radios(choices) : field(unit),
    element("button", { type: "submit", ...OWN_KEYS }, "Guess"),
  );
  const status = element("p", { role: "status" });
  el.classList.add("mnist-play", "mnist-guess");
  el.replaceChildren(form, status);
  return (guess, truth) => {
    if (guess && truth) status.replaceChildren(...sideBySide(guess, truth));
    else if (guess) status.replaceChildren(pair("Your guess", guess), "Run on to the answer.");
  };
}

/**
 * Put the truth: beside the guess if there is one, else folded.
 * @param {HTMLElement} el
 * @param {string} guess
 * @param {string} truth
 */
export function answer(el, guess, truth) {
  el.classList.add("mnist-play", "mnist-guess");
  el.replaceChildren(
    guess
      ? element("p", {}, ...sideBySide(guess, truth))
      : element(
          "details",
          {},
          element("summary", {}, "The answer"),
          element("p", {}, pair("Answer", truth)),
        ),
  );
}

/** @param {string[]} choices */
function radios(choices) {
  return element(
    "fieldset",
    {},
    element("legend", {}, "Your guess"),
    ...choices.map((value) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name: "guess", value, required: true, ...OWN_KEYS }),
        ` ${value}`,
      ),
    ),
  );
}

/** @param {string} unit */
function field(unit) {
  const input = element("input", {
    type: "number",
    name: "guess",
    step: "any",
    required: true,
  });
  return element("label", {}, "Your guess ", input, ` ${unit}`);
}

/** @param {string} given */
function number(given) {
  return Number(given).toLocaleString("en", { maximumSignificantDigits: 6 });
}

/**
 * @param {string} guess
 * @param {string} truth
 */
function sideBySide(guess, truth) {
  return [pair("Your guess", guess), pair("Answer", truth)];
}

/**
 * @param {string} name
 * @param {string} value
 */
function pair(name, value) {
  return element("span", {}, `${name}: `, element("strong", {}, value));
}
