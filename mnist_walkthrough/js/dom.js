// Small helpers for building a page.

/**
 * An element with its properties and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [properties] `class`, `aria-...` and `data-...` as attributes, others as properties
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) Object.assign(node, { [name]: value });
    else node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

/**
 * The head of a table.
 * @param {...string} names
 */
export function heads(...names) {
  const cells = names.map((name) => element("th", { scope: "col" }, name));
  return element("thead", {}, element("tr", {}, ...cells));
}

/**
 * The drawing context of a canvas.
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
export function context(canvas) {
  const found = canvas.getContext("2d", { willReadFrequently: true });
  if (!found) throw new Error("this browser gives no 2D canvas");
  return found;
}

/**
 * Paint a picture of 28 x 28 numbers, each through `colour`, on a canvas of 28 x 28 pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>} values [784]
 * @param {(value: number) => [number, number, number]} colour red, green, blue, each 0 to 255
 */
export function paint(canvas, values, colour) {
  const image = new ImageData(28, 28);
  for (let i = 0; i < 784; i++) image.data.set([...colour(values[i]), 255], 4 * i);
  context(canvas).putImageData(image, 0, 0);
}

/**
 * White ink on black, as MNIST's digits.
 * @param {number} ink in [0, 1]
 * @returns {[number, number, number]}
 */
export function grey(ink) {
  return [255 * ink, 255 * ink, 255 * ink];
}
