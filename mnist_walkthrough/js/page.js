// What the site's page needs in place of a notebook's kernel: the weights answer in the page itself.
import { draw } from "./draw.js";
import { experiment } from "./experiment.js";
import { forward, unflatten } from "./net.js";

/**
 * Put both tools where the page has a place for them.
 * @param {object} parts
 * @param {string} parts.weights float32 parameters, one after the other, as base64
 * @param {string} parts.digits uint8 [10, 784], as base64
 * @param {string} parts.worker source of the worker
 * @param {string} address of this script; beside it stands `play-data.js`
 */
export function play({ weights, digits, worker }, address) {
  const parameters = unflatten(new Float32Array(bytes(weights)));
  for (const el of places("mnist-draw"))
    draw({ model: new Kernel(parameters, new DataView(bytes(digits))), el });
  /** @type {Record<string, () => unknown>} */
  const sources = {
    shared: () => true,
    worker: () => worker,
    data: () => load(new URL("play-data.js", address).href),
  };
  for (const el of places("mnist-experiment")) {
    whenNear(el, () => experiment({ model: { get: (name) => sources[name]() }, el }));
  }
}

/** Answers in the page what a notebook's kernel answers in Python. */
class Kernel {
  /**
   * @param {Float32Array[]} parameters
   * @param {DataView} digits
   */
  constructor(parameters, digits) {
    this.parameters = parameters;
    /** @type {Record<string, any>} */
    this.values = { digits, answer: { hidden: [], logits: [] } };
    /** @type {Record<string, () => void>} */
    this.listeners = {};
  }

  /** @param {string} name */
  get(name) {
    return this.values[name];
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  set(name, value) {
    this.values[name] = value;
  }

  /**
   * @param {string} event
   * @param {() => void} f
   */
  on(event, f) {
    this.listeners[event] = f;
  }

  save_changes() {
    const { hidden, logits } = forward(
      this.parameters,
      new Float32Array(this.values.pixels.buffer),
    );
    this.values.answer = { hidden: [...hidden], logits: [...logits] };
    this.listeners["change:answer"]();
  }
}

/**
 * @param {string} name
 * @returns {HTMLElement[]}
 */
function places(name) {
  return [...document.querySelectorAll(`div.${name}`)].filter((el) => el instanceof HTMLElement);
}

/**
 * @param {HTMLElement} el
 * @param {() => void} f called once, when the reader comes near or the address asks for it
 */
function whenNear(el, f) {
  let begin = () => {
    begin = () => {};
    f();
  };
  const asked = () => location.hash.includes("=");
  const observer = new IntersectionObserver(
    (entries) => {
      if (asked() || entries.some((entry) => entry.isIntersecting)) begin();
    },
    { rootMargin: "400px" },
  );
  observer.observe(el);
  addEventListener("hashchange", () => {
    if (asked()) begin();
  });
}

/**
 * Packed tensors, by a script that sets `mnistData`, since a page that is opened as a file may not fetch.
 * @param {string} address
 * @returns {Promise<ArrayBuffer>}
 */
function load(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(bytes(/** @type {any} */ (globalThis).mnistData));
    script.onerror = () => reject(new Error(`could not load ${address}`));
    document.head.append(script);
  });
}

/**
 * @param {string} base64
 * @returns {ArrayBuffer}
 */
function bytes(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer;
}
