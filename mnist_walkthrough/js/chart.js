// A line chart in SVG, for a few series over the epochs.

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [340, 190, 42, 34, 24];

/**
 * @typedef {object} Series
 * @property {string} name "training" or "validation", which have looks of their own
 * @property {number[]} values one for each epoch, from 1 on; what is not finite leaves a gap
 */

/**
 * @param {object} chart
 * @param {string} chart.title
 * @param {string} chart.unit
 * @param {number} chart.epochs the end of the horizontal axis
 * @param {number} [chart.top] the end of the vertical axis; fits the data when not given
 * @param {Series[]} chart.series
 * @returns {SVGElement}
 */
export function lineChart({ title, unit, epochs, top, series }) {
  const finite = series.flatMap((s) => s.values).filter(Number.isFinite);
  const max = top ?? niceMax(Math.max(0, ...finite));
  const across = (/** @type {number} */ epoch) => LEFT + ((WIDTH - LEFT - 10) * epoch) / epochs;
  const up = (/** @type {number} */ value) =>
    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value / max);

  const svg = node("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    class: "mnist-chart",
    role: "img",
    "aria-label": `${title}. ${summary(series)}`,
  });
  svg.append(text(title, { x: LEFT, y: 14, class: "mnist-title" }));
  for (const share of [0, 0.5, 1]) {
    const y = up(max * share);
    svg.append(node("line", { x1: LEFT, x2: WIDTH - 10, y1: y, y2: y, class: "mnist-grid" }));
    svg.append(text(label(max * share), { x: LEFT - 5, y: y + 4, "text-anchor": "end" }));
  }
  for (const epoch of [0, epochs / 2, epochs])
    svg.append(text(label(epoch), { x: across(epoch), y: HEIGHT - 18, "text-anchor": "middle" }));
  svg.append(text("epoch", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 4, "text-anchor": "middle" }));
  svg.append(
    text(unit, {
      x: 12,
      y: TOP + (HEIGHT - BOTTOM - TOP) / 2,
      "text-anchor": "middle",
      transform: `rotate(-90 12 ${TOP + (HEIGHT - BOTTOM - TOP) / 2})`,
    }),
  );
  if (series.some(({ values }) => values.length && !Number.isFinite(values.at(-1)))) {
    svg.append(text("NaN", { x: (LEFT + WIDTH) / 2, y: HEIGHT / 2, class: "mnist-nan mnist-big" }));
  }
  series.forEach(({ name, values }, i) => {
    const points = values
      .map((v, e) => (Number.isFinite(v) ? `${across(e + 1)},${up(Math.min(v, max))}` : ""))
      .filter(Boolean);
    const look = { class: `mnist-line mnist-${name}` };
    const x = WIDTH - 85 * (series.length - i);
    svg.append(node("polyline", { points: points.join(" "), ...look }));
    svg.append(node("line", { x1: x, x2: x + 22, y1: 10, y2: 10, ...look }));
    svg.append(text(name, { x: x + 26, y: 14 }));
  });
  return svg;
}

/** @param {Series[]} series */
function summary(series) {
  return series
    .map(
      ({ name, values }) =>
        `${name}: ${values.length ? `${label(values[values.length - 1])} after ${values.length} epochs` : "no epoch yet"}`,
    )
    .join(", ");
}

/**
 * The next of 1, 2, 3, 5, 10, 20 ... from a value on.
 * @param {number} value
 */
function niceMax(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 3, 5, 10].map((m) => m * power).find((m) => m >= value) ?? 10 * power;
}

/** @param {number} value */
export function label(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : String(value);
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function node(tag, attributes) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, String(value));
  return svg;
}

/**
 * @param {string} words
 * @param {Record<string, string | number>} attributes
 */
function text(words, attributes) {
  const svg = node("text", attributes);
  svg.textContent = words;
  return svg;
}
