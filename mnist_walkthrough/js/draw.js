// Draw a digit, and see what the net makes of it: what it is given, its hidden units, logits, probabilities.
import { element, grey, heads, paint } from "./dom.js";
import { logSoftmax } from "./net.js";
import { Pad } from "./pad.js";
import { prepare, resize } from "./prepare.js";

const FIRST = 3; // what is shown before anything is drawn

/**
 * What a page, or a notebook by anywidget, gives: `digits` uint8 [10, 784] to choose from. It is told `pixels`
 * float32 [784], and tells the `answer`.
 * @typedef {{ hidden: number[], logits: number[] }} Answer
 * @typedef {object} Model
 * @property {(name: string) => any} get
 * @property {(name: string, value: unknown) => void} set
 * @property {(event: string, f: () => void) => void} on
 * @property {() => void} save_changes
 */

/**
 * @param {{ model: Model, el: HTMLElement }} place
 */
export function draw({ model, el }) {
  const seen = element("canvas", {
    className: "mnist-seen",
    width: 28,
    height: 28,
    role: "img",
    "aria-label": "What the net is given",
  });
  const prepared = element("input", { type: "checkbox", checked: true });
  const answer = answerView();
  const pad = new Pad(ask);
  let empty = true;

  function ask() {
    const picture = pad.picture();
    const x = prepared.checked ? prepare(picture) : resize(picture, 28, 28).ink;
    paint(seen, x, grey);
    empty = x.every((v) => v === 0);
    if (empty) answer.wait("Draw a digit.");
    model.set("pixels", new DataView(x.buffer));
    model.save_changes();
  }

  model.on("change:answer", () => {
    if (!empty) answer.show(model.get("answer"));
  });
  prepared.onchange = ask;
  el.classList.add("mnist-play", "mnist-draw");
  el.replaceChildren(
    answer.words,
    element(
      "div",
      { className: "mnist-draw-left" },
      pad.canvas,
      element(
        "div",
        { className: "mnist-row" },
        element("button", { type: "button", onclick: () => pad.clear() }, "Clear"),
        element("button", { type: "button", onclick: () => pad.undo() }, "Undo"),
        element("label", {}, prepared, " MNIST's preparation"),
      ),
      storedDigits(model.get("digits"), (pixels) => pad.show(pixels)),
      element(
        "p",
        { className: "mnist-hint" },
        "Draw over it. By keyboard: arrows move the pen, space puts it down or lifts it, backspace undoes.",
      ),
    ),
    element(
      "div",
      { className: "mnist-draw-right" },
      element("figure", {}, seen, element("figcaption", {}, "what the net is given")),
      answer.node,
    ),
  );
  pad.show(storedDigit(model.get("digits"), FIRST));
}

/**
 * Buttons, each with a digit that can be put on the pad.
 * @param {DataView} digits uint8 [n, 784]
 * @param {(pixels: Uint8Array) => void} choose
 */
function storedDigits(digits, choose) {
  const row = element("div", {
    className: "mnist-row mnist-stored",
    role: "group",
    "aria-label": "Digits of the test set",
  });
  for (let k = 0; k < digits.byteLength / 784; k++) {
    const pixels = storedDigit(digits, k);
    const image = element("canvas", { width: 28, height: 28 });
    paint(image, pixels, (v) => grey(v / 255));
    row.append(
      element(
        "button",
        { type: "button", "aria-label": `Show a stored ${k}`, onclick: () => choose(pixels) },
        image,
      ),
    );
  }
  return row;
}

/**
 * @param {DataView} digits uint8 [n, 784]
 * @param {number} k
 */
function storedDigit(digits, k) {
  return new Uint8Array(digits.buffer, digits.byteOffset + 784 * k, 784);
}

/** Hidden units as cells, logits and probabilities as bars, the answer in words. */
function answerView() {
  const words = element("p", { className: "mnist-answer", "aria-live": "polite" });
  const hidden = element("div", { className: "mnist-hidden" });
  const units = element(
    "figure",
    {},
    hidden,
    element("figcaption", {}, "the hidden units, bright where active"),
  );
  const rows = Array.from({ length: 10 }, (_, k) => {
    const cells = {
      logit: element("td", {}),
      bar: element("div", {}),
      probability: element("td", {}),
    };
    const node = element(
      "tr",
      {},
      element("th", { scope: "row" }, String(k)),
      cells.logit,
      element("td", {}, cells.bar),
      cells.probability,
    );
    return { node, ...cells };
  });
  const table = element(
    "table",
    {},
    heads("class", "logit", "softmax", "%"),
    element("tbody", {}, ...rows.map((row) => row.node)),
  );

  /** @param {string} text */
  function wait(text) {
    words.textContent = text;
    hidden.replaceChildren();
    for (const row of rows) {
      row.logit.textContent = row.probability.textContent = "–";
      row.bar.style.width = "0";
    }
  }

  /** @param {Answer} answer */
  function show(answer) {
    const logits = Float32Array.from(answer.logits);
    const p = logSoftmax(logits).map(Math.exp);
    const best = p.indexOf(Math.max(...p));
    words.textContent = `${best}, with ${(100 * p[best]).toFixed(0)} %`;
    const top = Math.max(...answer.hidden, Number.MIN_VALUE);
    units.hidden = answer.hidden.length === 0;
    hidden.replaceChildren(
      ...answer.hidden.map((h, j) =>
        element("span", {
          title: `unit ${j}: ${h.toFixed(2)}`,
          style: `--light: ${(h / top).toFixed(3)}`,
        }),
      ),
    );
    rows.forEach((row, k) => {
      row.logit.textContent = logits[k].toFixed(2);
      row.probability.textContent = (100 * p[k]).toFixed(1);
      row.probability.title = String(p[k]);
      row.bar.style.width = `${100 * p[k]}%`;
      row.node.classList.toggle("mnist-best", k === best);
    });
  }

  return { words, node: element("div", {}, units, table), wait, show };
}
