// What was done to each MNIST digit before it came into the set; the notebook's `prepare` in JavaScript.

/** @typedef {{ ink: Float32Array, height: number, width: number }} Picture ink in [0, 1], row by row */

/**
 * Fit the ink into 20 x 20, keep its proportions, and put its centre of mass into the middle of 28 x 28.
 * @param {Picture} picture
 * @returns {Float32Array} [784]
 */
export function prepare(picture) {
  const cut = crop(picture);
  if (!cut) return new Float32Array(784);
  const scale = 20 / Math.max(cut.height, cut.width);
  return centre(resize(cut, fit(cut.height * scale), fit(cut.width * scale)));
}

/** @param {number} length */
function fit(length) {
  return Math.max(1, Math.round(length));
}

/**
 * The part that has ink; null where there is none.
 * @param {Picture} picture
 * @returns {Picture | null}
 */
function crop({ ink, height, width }) {
  let [top, bottom, left, right] = [height, -1, width, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] === 0) continue;
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      [left, right] = [Math.min(left, x), Math.max(right, x)];
    }
  }
  if (bottom < 0) return null;
  const cut = {
    ink: new Float32Array((bottom - top + 1) * (right - left + 1)),
    height: bottom - top + 1,
    width: right - left + 1,
  };
  for (let y = top; y <= bottom; y++) {
    cut.ink.set(ink.subarray(y * width + left, y * width + right + 1), (y - top) * cut.width);
  }
  return cut;
}

/**
 * Each new pixel is the mean of the old ones that it covers; as torch's `adaptive_avg_pool2d`.
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 * @returns {Picture}
 */
export function resize(picture, height, width) {
  const ink = new Float32Array(height * width);
  for (let y = 0; y < height; y++) {
    const [top, bottom] = [
      Math.floor((y * picture.height) / height),
      Math.ceil(((y + 1) * picture.height) / height),
    ];
    for (let x = 0; x < width; x++) {
      const [left, right] = [
        Math.floor((x * picture.width) / width),
        Math.ceil(((x + 1) * picture.width) / width),
      ];
      let total = 0;
      for (let v = top; v < bottom; v++)
        for (let u = left; u < right; u++) total += picture.ink[v * picture.width + u];
      ink[y * width + x] = total / ((bottom - top) * (right - left));
    }
  }
  return { ink, height, width };
}

/**
 * Move by whole pixels, so that the centre of mass comes to (14, 14); what leaves the image is lost.
 * @param {Picture} picture
 * @returns {Float32Array} [784]
 */
function centre({ ink, height, width }) {
  let [mass, y0, x0] = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const m = ink[y * width + x];
      [mass, y0, x0] = [mass + m, y0 + m * y, x0 + m * x];
    }
  }
  const [down, across] = [Math.round(14 - y0 / mass), Math.round(14 - x0 / mass)];
  const out = new Float32Array(784);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [v, u] = [y + down, x + across];
      if (v >= 0 && v < 28 && u >= 0 && u < 28) out[v * 28 + u] = ink[y * width + x];
    }
  }
  return out;
}
