// The failures of the walk under the reader's fingers: settings, a training in a worker, and what comes of it.
import { label, lineChart } from "./chart.js";
import { element, heads, paint } from "./dom.js";

/**
 * @typedef {import("./train.js").Settings} Settings
 * @typedef {import("./worker.js").State} State
 */

const CHOICES = {
  start: { name: "initial weights", values: ["torch", "he", "unscaled", "zeros"] },
  lr: { name: "learning rate", values: [0.001, 0.01, 0.03, 0.1, 0.3, 1, 3, 10] },
  batch: { name: "batch size", values: [1, 8, 32, 256, 1000] },
  shuffle: { name: "shuffle", values: [true, false] },
  softmax: { name: "softmax", values: ["stable", "naive"] },
  zero_grad: { name: "zero_grad", values: [true, false] },
  seed: { name: "seed", values: [0, 1, 2] },
};

/** @type {Settings} */
const DEFAULTS = {
  start: "torch",
  lr: 0.1,
  batch: 256,
  shuffle: true,
  softmax: "stable",
  zero_grad: true,
  seed: 0,
};

/**
 * The settings in an address such as `#start=unscaled&lr=0.1`; what is missing or unknown has its default.
 * @param {string} hash
 * @returns {Settings}
 */
export function settingsFrom(hash) {
  const given = new URLSearchParams(hash.slice(1));
  const pairs = Object.entries(CHOICES).map(([key, { values }]) => {
    const found = values.find((value) => String(value) === given.get(key));
    return [key, found ?? DEFAULTS[/** @type {keyof Settings} */ (key)]];
  });
  return Object.fromEntries(pairs);
}

/**
 * @param {Settings} settings
 * @returns {string} such as `#start=unscaled&lr=0.1&...`
 */
export function hashOf(settings) {
  return `#${new URLSearchParams(Object.entries(settings).map(([key, value]) => [key, String(value)]))}`;
}

/**
 * `shared`: whether the page's address holds the settings; `worker`: the source of worker.js with all that it imports; `data`: packed tensors, or a promise of them.
 * @param {{ model: { get: (name: string) => any }, el: HTMLElement }} place
 */
export async function experiment({ model, el }) {
  const shared = model.get("shared");
  const view = new View(settingsFrom(shared ? location.hash : ""));
  el.classList.add("mnist-play", "mnist-experiment");
  el.replaceChildren(view.node);
  const packed = await model.get("data");
  const worker = startWorker(model.get("worker"));
  worker.postMessage(["load", packed]);
  worker.onmessage = ({ data }) => view.show(data);
  view.connect((command, argument) => worker.postMessage([command, argument]), shared);
  if (shared && location.hash.includes("=")) (el.closest("section") ?? el).scrollIntoView();
}

/** @param {string} source */
function startWorker(source) {
  return new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
}

class View {
  /** @param {Settings} settings */
  constructor(settings) {
    this.inputs = Object.fromEntries(
      Object.entries(CHOICES).map(([key, { values }]) => [key, select(key, values)]),
    );
    this.start = button("Start");
    this.step = button("Step");
    this.reset = button("Reset");
    this.status = element(
      "p",
      { className: "mnist-status", role: "status" },
      "Loading the digits …",
    );
    this.charts = element("div", { className: "mnist-row" });
    this.numbers = element("tbody");
    this.weights = Array.from({ length: 30 }, (_, j) =>
      element("canvas", {
        width: 28,
        height: 28,
        role: "img",
        "aria-label": `Weights of hidden unit ${j}`,
      }),
    );
    this.node = element(
      "div",
      {},
      element(
        "div",
        { className: "mnist-controls" },
        ...Object.entries(CHOICES).map(([key, { name }]) =>
          element("label", {}, name, this.inputs[key]),
        ),
      ),
      element("div", { className: "mnist-row" }, this.start, this.step, this.reset),
      this.status,
      this.charts,
      element(
        "details",
        {},
        element("summary", {}, "The numbers"),
        element(
          "table",
          {},
          heads("epoch", "training loss", "validation loss", "accuracy"),
          this.numbers,
        ),
      ),
      element(
        "figure",
        {},
        element("div", { className: "mnist-weights" }, ...this.weights),
        element(
          "figcaption",
          {},
          "the weights of the 30 hidden units: orange positive, blue negative, both relative to the largest; red is NaN",
        ),
      ),
    );
    this.put(settings);
    this.drawCharts([]);
  }

  /**
   * @param {(command: string, argument?: unknown) => void} send
   * @param {boolean} shared
   */
  connect(send, shared) {
    const reset = () => send("reset", this.settings());
    this.start.onclick = () => send(this.start.textContent === "Pause" ? "pause" : "start");
    this.step.onclick = () => send("step");
    this.reset.onclick = reset;
    for (const input of Object.values(this.inputs)) {
      input.onchange = shared ? () => location.replace(hashOf(this.settings())) : reset;
    }
    if (shared) {
      addEventListener("hashchange", () => {
        const asked = settingsFrom(location.hash);
        if (hashOf(asked) !== hashOf(this.settings()))
          this.node.closest("section")?.scrollIntoView();
        this.put(asked);
        reset();
      });
    }
    reset();
  }

  /** @returns {Settings} */
  settings() {
    return settingsFrom(
      `#${new URLSearchParams(Object.entries(this.inputs).map(([key, input]) => [key, input.value]))}`,
    );
  }

  /** @param {Settings} settings */
  put(settings) {
    for (const [key, value] of Object.entries(settings)) this.inputs[key].value = String(value);
  }

  /** @param {State} state */
  show({ history, nDone, loss, nSteps, weights, born, running, done }) {
    this.start.textContent = running ? "Pause" : "Start";
    this.start.disabled = done;
    this.step.disabled = done || running;
    const last = history.at(-1);
    const accuracy = last ? `, accuracy ${(100 * last.accuracy).toFixed(1)} %` : "";
    this.status.replaceChildren(
      `${nDone} of ${nSteps} steps, ${history.length} of 20 epochs${accuracy}. `,
    );
    if (loss !== null) this.status.append("Loss of the last batch: ", number(loss), ". ");
    if (born) {
      const place = `in ${born.where}, at step ${born.step}`;
      this.status.append(
        "The first ",
        number(born.value),
        ` was born ${place} (the first step is 0). `,
      );
    }
    if (done) this.status.append("Done; Reset begins again.");
    this.drawCharts(history);
    this.drawWeights(weights);
    this.numbers.replaceChildren(...history.map(numbersRow));
  }

  /** @param {State["history"]} history */
  drawCharts(history) {
    const column = (/** @type {"train_loss" | "valid_loss" | "accuracy"} */ name) =>
      history.map((row) => row[name]);
    this.charts.replaceChildren(
      lineChart({
        title: "Loss",
        unit: "nats",
        epochs: 20,
        series: [
          { name: "training", values: column("train_loss") },
          { name: "validation", values: column("valid_loss") },
        ],
      }),
      lineChart({
        title: "Accuracy of 1,000 other digits",
        unit: "%",
        epochs: 20,
        top: 100,
        series: [{ name: "validation", values: column("accuracy").map((v) => 100 * v) }],
      }),
    );
  }

  /** @param {Float32Array} weights [30, 784] */
  drawWeights(weights) {
    const largest = weights.reduce((most, w) => Math.max(most, Math.abs(w) || 0), 1e-9);
    for (const [j, canvas] of this.weights.entries()) {
      paint(canvas, weights.subarray(784 * j, 784 * (j + 1)), (w) => twoColours(w / largest));
    }
  }
}

/**
 * Orange for 1, white for 0, blue for -1, red for NaN.
 * @param {number} value
 * @returns {[number, number, number]}
 */
function twoColours(value) {
  if (!Number.isFinite(value)) return [200, 0, 0];
  const [red, green, blue] = value > 0 ? [255, 128, 14] : [0, 107, 164];
  const share = Math.min(1, Math.abs(value));
  const mix = (/** @type {number} */ c) => 255 + share * (c - 255);
  return [mix(red), mix(green), mix(blue)];
}

/**
 * @param {string} key
 * @param {(string | number | boolean)[]} values
 */
function select(key, values) {
  const words = { true: "on", false: "off" };
  const options = values.map((value) =>
    element(
      "option",
      { value: String(value) },
      words[/** @type {"true"} */ (String(value))] ?? String(value),
    ),
  );
  return element("select", { name: key }, ...options);
}

/** @param {State["history"][number]} row */
function numbersRow({ epoch, train_loss, valid_loss, accuracy }) {
  const cells = [epoch, train_loss.toFixed(6), valid_loss.toFixed(6), accuracy.toFixed(3)];
  return element("tr", {}, ...cells.map((cell) => element("td", {}, String(cell))));
}

/**
 * A number, in red where it is not finite.
 * @param {number} value
 */
function number(value) {
  const className = Number.isFinite(value) ? "" : "mnist-nan";
  return element("strong", { className }, Number.isFinite(value) ? value.toFixed(3) : label(value));
}

/** @param {string} text */
function button(text) {
  return element("button", { type: "button" }, text);
}
