// The training of the walk: its loop, loss and optimizer, from loops over numbers.
import { forward, logSoftmax, rows, sum, worthwhile } from "./net.js";

/**
 * @typedef {object} Settings
 * @property {string} start the initial weights: zeros, unscaled, torch or he
 * @property {number} lr learning rate
 * @property {number} batch batch size
 * @property {boolean} shuffle a new permutation for each epoch
 * @property {string} softmax stable or naive
 * @property {boolean} zero_grad whether the gradients are emptied after a step
 * @property {number} seed which stored start and permutations
 *
 * @typedef {object} Split
 * @property {Float32Array} x pixels in [0, 1], [n, 784]
 * @property {Uint8Array} y labels, [n]
 */

/**
 * One epoch: forward, loss, backward, step for each batch. Yields after each step.
 * @param {Float32Array[]} parameters weight 1, bias 1, weight 2, bias 2: changed in place
 * @param {Float32Array[]} gradients of the same shapes
 * @param {Split} train
 * @param {ArrayLike<number>} order row numbers, in the order in which they are served
 * @param {Settings} settings
 */
export function* trainEpoch(parameters, gradients, train, order, settings) {
  const lossFn = settings.softmax === "naive" ? naiveLoss : crossEntropy;
  for (let at = 0; at < order.length; at += settings.batch) {
    const batch = gather(train, order, at, Math.min(at + settings.batch, order.length));
    const { hidden, logits } = forward(parameters, batch.x);
    const { loss, gradient } = lossFn(logits, batch.y);
    backward(parameters, gradients, batch.x, hidden, gradient);
    step(parameters, gradients, settings.lr);
    if (settings.zero_grad) for (const g of gradients) g.fill(0);
    yield { loss, logits, n: batch.y.length };
  }
}

/**
 * The rows `order[from]` to `order[to - 1]` as one batch.
 * @param {Split} split
 * @param {ArrayLike<number>} order
 * @param {number} from
 * @param {number} to
 * @returns {Split}
 */
function gather(split, order, from, to) {
  const [x, y] = [new Float32Array((to - from) * 784), new Uint8Array(to - from)];
  for (let i = from; i < to; i++) {
    const row = order[i];
    x.set(split.x.subarray(row * 784, (row + 1) * 784), (i - from) * 784);
    y[i - from] = split.y[row];
  }
  return { x, y };
}

/**
 * Mean of -log softmax at the targets, and its gradient: (softmax - one-hot) / n.
 * @param {Float32Array} logits [n, 10]
 * @param {Uint8Array} y [n]
 */
export function crossEntropy(logits, y) {
  const logP = logSoftmax(logits);
  const gradient = logP.map(
    (v, i) => (Math.exp(v) - (i % 10 === y[(i / 10) | 0] ? 1 : 0)) / y.length,
  );
  return { loss: -sum(pick(logP, y)) / y.length, gradient };
}

/**
 * The same as the formulas read. `exp` overflows beyond 88.7: infinity / infinity is NaN.
 * @param {Float32Array} logits [n, 10]
 * @param {Uint8Array} y [n]
 */
export function naiveLoss(logits, y) {
  const e = logits.map(Math.exp);
  const p = rows(e, (row) => row.map((v) => v / sum(row)));
  const gradient = new Float32Array(e.length);
  for (let r = 0; r < y.length; r++) {
    const [at, right] = [r * 10, r * 10 + y[r]];
    const total = sum(e.subarray(at, at + 10));
    const dP = Math.fround(-1 / y.length / p[right]); // of the logarithm
    const dTotal = -dP * Math.fround(p[right] / total); // of the division
    for (let i = at; i < at + 10; i++) {
      const dE = dTotal + (i === right ? dP / total : 0);
      gradient[i] = Math.fround(dE) * e[i]; // of the exponential
    }
  }
  return { loss: -sum(pick(p, y).map(Math.log)) / y.length, gradient };
}

/**
 * Of each row of ten the number at the target.
 * @param {Float32Array} table [n, 10]
 * @param {Uint8Array} y [n]
 */
function pick(table, y) {
  return Float32Array.from(y, (k, r) => table[r * 10 + k]);
}

/**
 * The chain rule from the logits back to each parameter, added to `gradients`.
 * @param {Float32Array[]} parameters
 * @param {Float32Array[]} gradients
 * @param {Float32Array} x [n, 784]
 * @param {Float32Array} hidden [n, 30]
 * @param {Float32Array} dLogits [n, 10]
 */
function backward(parameters, gradients, x, hidden, dLogits) {
  const [, , weight2] = parameters;
  const dHidden = new Float32Array(hidden.length);
  for (let r = 0; r < hidden.length / 30; r++) {
    for (let j = 0; j < 30; j++) {
      let d = 0;
      for (let k = 0; k < 10; k++) d += dLogits[r * 10 + k] * weight2[k * 30 + j];
      if (!(hidden[r * 30 + j] <= 0)) dHidden[r * 30 + j] = d; // ReLU: nothing passes a silent unit
    }
  }
  addLinearGradient(gradients[2], gradients[3], hidden, dLogits);
  addLinearGradient(gradients[0], gradients[1], x, dHidden);
}

/**
 * Of `x @ weight.T + bias`: dWeight += dZ.T @ x, dBias += the sum of dZ over the rows.
 * @param {Float32Array} dWeight [nOut, nIn]
 * @param {Float32Array} dBias [nOut]
 * @param {Float32Array} x [n, nIn]
 * @param {Float32Array} dZ [n, nOut]
 */
function addLinearGradient(dWeight, dBias, x, dZ) {
  const nOut = dBias.length;
  const nIn = dWeight.length / nOut;
  const finite = dZ.every(Number.isFinite);
  for (let r = 0; r * nOut < dZ.length; r++) {
    const row = x.subarray(r * nIn, (r + 1) * nIn);
    const columns = worthwhile(row, finite);
    for (let j = 0; j < nOut; j++) {
      const d = dZ[r * nOut + j];
      dBias[j] += d;
      for (let c = 0; c < columns.length; c++) dWeight[j * nIn + columns[c]] += d * row[columns[c]];
    }
  }
}

/**
 * weight -= lr * gradient
 * @param {Float32Array[]} parameters
 * @param {Float32Array[]} gradients
 * @param {number} lr
 */
function step(parameters, gradients, lr) {
  parameters.forEach((p, k) => {
    for (let i = 0; i < p.length; i++) p[i] -= Math.fround(lr * gradients[k][i]);
  });
}

/**
 * Loss and accuracy of a whole split.
 * @param {Float32Array[]} parameters
 * @param {Split} split
 * @param {string} softmax stable or naive
 */
export function evaluate(parameters, { x, y }, softmax) {
  const { logits } = forward(parameters, x);
  const { loss } = (softmax === "naive" ? naiveLoss : crossEntropy)(logits, y);
  let right = 0;
  for (let r = 0; r < y.length; r++)
    right += argmax(logits.subarray(r * 10, r * 10 + 10)) === y[r] ? 1 : 0;
  return { loss, accuracy: right / y.length };
}

/**
 * The place of the largest number, or of the first NaN, as in torch.
 * @param {Float32Array} values
 */
export function argmax(values) {
  const nan = values.findIndex(Number.isNaN);
  return nan >= 0 ? nan : values.indexOf(Math.max(...values));
}
