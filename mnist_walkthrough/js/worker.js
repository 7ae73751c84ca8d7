// A training in a Web Worker, so that the page stays responsive. It is told what to do by messages
// and answers each with its state.
import { unflatten } from "./net.js";
import { evaluate, trainEpoch } from "./train.js";
import { unpack } from "./unpack.js";

const N_EPOCHS = 20; // so many permutations are stored for each seed
const SLICE = 30; // milliseconds of work between two looks at the messages

/**
 * @typedef {import("./train.js").Settings} Settings
 * @typedef {object} Row one line of the history
 * @property {number} epoch
 * @property {number} train_loss mean over the rows, each measured before its step, in nats
 * @property {number} valid_loss in nats
 * @property {number} accuracy of the validation digits, in [0, 1]
 *
 * @typedef {object} State
 * @property {Row[]} history
 * @property {number} nDone steps that have been taken
 * @property {number | null} loss of the last step, in nats
 * @property {number} nSteps of the whole training
 * @property {Float32Array} weights of the hidden units, [30, 784]
 * @property {{ step: number, value: number, where: string } | null} born the first number that is not finite
 * @property {boolean} running
 * @property {boolean} done
 */

class Run {
  /**
   * @param {Record<string, any>} data tensors by their names
   * @param {Settings} settings
   */
  constructor(data, settings) {
    this.settings = settings;
    this.train = split(data, "train");
    this.valid = split(data, "valid");
    this.orders = settings.shuffle ? data[`order.${settings.seed}`] : null;
    const { start, seed } = settings;
    this.parameters = unflatten(
      start === "zeros" ? new Float32Array(23860) : data[`${start}.${seed}`],
    );
    this.gradients = this.parameters.map((p) => new Float32Array(p.length));
    /** @type {State} */
    this.state = {
      history: [],
      nDone: 0,
      loss: null,
      nSteps: N_EPOCHS * Math.ceil(this.train.y.length / settings.batch),
      weights: this.parameters[0],
      born: null,
      running: false,
      done: false,
    };
    this.steps = this.fit();
  }

  /** One step of the training for each `next()`; the history grows with each epoch. */
  *fit() {
    const { parameters, gradients, train, settings, state } = this;
    for (let epoch = 1; epoch <= N_EPOCHS; epoch++) {
      let [total, n] = [0, 0];
      for (const step of trainEpoch(parameters, gradients, train, this.order(epoch), settings)) {
        [total, n] = [total + step.loss * step.n, n + step.n];
        state.born ??= this.birth(step);
        state.loss = step.loss;
        state.nDone++;
        yield;
      }
      const { loss, accuracy } = evaluate(parameters, this.valid, settings.softmax);
      state.history.push({ epoch, train_loss: total / n, valid_loss: loss, accuracy });
    }
    state.done = true;
  }

  /** @param {number} epoch */
  order(epoch) {
    const n = this.train.y.length;
    return this.orders
      ? this.orders.subarray((epoch - 1) * n, epoch * n)
      : Array.from({ length: n }, (_, i) => i);
  }

  /**
   * @param {{ loss: number, logits: Float32Array }} step
   * @returns {State["born"]}
   */
  birth({ loss, logits }) {
    /** @type {[string, Float32Array][]} */
    const places = [
      ["a logit", logits],
      ["the loss", Float32Array.of(loss)],
      ...this.parameters.map((p) => /** @type {[string, Float32Array]} */ (["a weight", p])),
    ];
    for (const [where, numbers] of places) {
      const value = numbers.find((v) => !Number.isFinite(v));
      if (value !== undefined) return { step: this.state.nDone, value, where };
    }
    return null;
  }

  /** @param {number} milliseconds */
  advance(milliseconds) {
    const end = performance.now() + milliseconds;
    do this.steps.next();
    while (!this.state.done && performance.now() < end);
  }
}

/**
 * @param {Record<string, any>} data
 * @param {string} name
 * @returns {import("./train.js").Split}
 */
function split(data, name) {
  return { x: Float32Array.from(data[`${name}.x`], (v) => v / 255), y: data[`${name}.y`] };
}

/** @type {Record<string, any>} */
let data = {};
/** @type {Run} */
let run;
let timer = 0; // of the next slice

const commands = {
  /** @param {BlobPart} packed bytes */
  async load(packed) {
    data = await unpack(packed);
  },
  /** @param {Settings} settings */
  reset(settings) {
    run = new Run(data, settings);
  },
  step() {
    run.advance(0);
  },
  pause() {
    run.state.running = false;
  },
  start() {
    run.state.running = !run.state.done;
    clearTimeout(timer);
    timer = setTimeout(slice);
  },
};

function slice() {
  if (!run.state.running) return;
  run.advance(SLICE);
  run.state.running = !run.state.done;
  if (run.state.running) timer = setTimeout(slice);
  postMessage(run.state);
}

let queue = Promise.resolve(); // a command waits for those before it, as for the unpacking

self.onmessage = ({ data: [command, argument] }) => {
  queue = queue.then(async () => {
    await commands[/** @type {keyof typeof commands} */ (command)](argument);
    if (command !== "load") postMessage(run.state);
  });
};
