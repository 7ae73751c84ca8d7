// The net of the walk, 784-30-10, from loops. Every tensor is a Float32Array, row by row, so each of its
// numbers is rounded to float32, as torch's are; the sums on the way to a number are not.

/**
 * `x @ weight.T + bias`
 * @param {Float32Array} x [n, nIn]
 * @param {Float32Array} weight [nOut, nIn]
 * @param {Float32Array} bias [nOut]
 * @returns {Float32Array} [n, nOut]
 */
export function linear(x, weight, bias) {
  const nOut = bias.length;
  const nIn = weight.length / nOut;
  const z = new Float32Array((x.length / nIn) * nOut);
  const finite = weight.every(Number.isFinite);
  for (let r = 0; r * nOut < z.length; r++) {
    const row = x.subarray(r * nIn, (r + 1) * nIn);
    const columns = worthwhile(row, finite);
    for (let j = 0; j < nOut; j++) {
      let sum = 0;
      for (let c = 0; c < columns.length; c++)
        sum += row[columns[c]] * weight[j * nIn + columns[c]];
      z[r * nOut + j] = sum + bias[j];
    }
  }
  return z;
}

/**
 * The columns that are not 0: most pixels are, and add nothing. Yet 0 * NaN is NaN, and 0 * infinity too:
 * all columns, where the other factors are not `finite`.
 * @param {Float32Array} row
 * @param {boolean} finite
 * @returns {Uint16Array}
 */
export function worthwhile(row, finite) {
  const columns = new Uint16Array(row.length);
  let n = 0;
  for (let i = 0; i < row.length; i++) if (row[i] !== 0 || !finite) columns[n++] = i;
  return columns.subarray(0, n);
}

/**
 * Zero for what is negative; NaN stays NaN.
 * @param {Float32Array} z any shape
 * @returns {Float32Array} the same shape
 */
export function relu(z) {
  return z.map((v) => Math.max(v, 0));
}

/**
 * Logarithm of the softmax of each row of ten, shifted so that nothing overflows.
 * @param {Float32Array} logits [n, 10]
 * @returns {Float32Array} [n, 10]
 */
export function logSoftmax(logits) {
  return rows(logits, (z) => {
    const max = Math.max(...z);
    const shifted = z.map((v) => v - max);
    const logSum = Math.log(sum(shifted.map(Math.exp)));
    return shifted.map((v) => v - logSum);
  });
}

/**
 * A function of each row of ten.
 * @param {Float32Array} table [n, 10]
 * @param {(row: Float32Array) => Float32Array} f
 * @returns {Float32Array} [n, 10]
 */
export function rows(table, f) {
  const out = new Float32Array(table.length);
  for (let at = 0; at < table.length; at += 10) out.set(f(table.subarray(at, at + 10)), at);
  return out;
}

/** @param {Float32Array} values */
export function sum(values) {
  return Math.fround(values.reduce((a, b) => a + b, 0));
}

/**
 * Parameters that lie one after the other, each by itself.
 * @param {Float32Array} flat [23860]
 * @returns {Float32Array[]} copies: weight 1 [30, 784], bias 1 [30], weight 2 [10, 30], bias 2 [10]
 */
export function unflatten(flat) {
  const ends = [23520, 23550, 23850, 23860];
  return ends.map((end, i) => flat.slice(ends[i - 1] ?? 0, end));
}

/**
 * From pixels to logits, with what lies between.
 * @param {Float32Array[]} parameters weight 1 [30, 784], bias 1 [30], weight 2 [10, 30], bias 2 [10]
 * @param {Float32Array} x pixels in [0, 1], [n, 784]
 */
export function forward([weight1, bias1, weight2, bias2], x) {
  const hidden = relu(linear(x, weight1, bias1));
  return { hidden, logits: linear(hidden, weight2, bias2) };
}
