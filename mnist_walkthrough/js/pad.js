// A square to draw on, with mouse, finger, pen or arrow keys. Strokes are kept, so that one can be undone.
import { context, element } from "./dom.js";

const SIZE = 280; // ten dots of the pad for each pixel of a digit
const PEN = 20;
const STEP = 10; // what one press of an arrow key moves

/** @typedef {[number, number]} Point across and down, in dots of the pad */

export class Pad {
  /** @param {() => void} changed called when the picture has changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {Point[][]} */
    this.strokes = [];
    /** @type {Uint8Array | null} */
    this.digit = null;
    /** @type {{ strokes: Point[][], digit: Uint8Array | null }[]} */
    this.past = [];
    /** @type {Point} */
    this.cursor = [SIZE / 2, SIZE / 2];
    this.drawing = false;
    this.canvas = element("canvas", {
      className: "mnist-pad",
      width: SIZE,
      height: SIZE,
      tabIndex: 0,
      role: "application",
      "aria-label":
        "Square to draw a digit on. Arrow keys move the pen, space puts it down or lifts it, backspace undoes.",
    });
    this.listen();
    this.redraw();
  }

  listen() {
    this.canvas.onpointerdown = (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.begin(this.place(event));
    };
    this.canvas.onpointermove = (event) => {
      if (this.canvas.hasPointerCapture(event.pointerId)) this.extend(this.place(event));
    };
    this.canvas.onkeydown = (event) => {
      if (this.key(event.key)) event.preventDefault();
    };
    this.canvas.onblur = () => this.lift();
  }

  /**
   * @param {PointerEvent} event
   * @returns {Point}
   */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) * SIZE) / box.width,
      ((event.clientY - box.top) * SIZE) / box.height,
    ];
  }

  /** @param {Point} point */
  begin(point) {
    this.lift();
    this.put([...this.strokes, [point]], null);
  }

  /**
   * Show another picture, and keep the one before it.
   * @param {Point[][]} strokes
   * @param {Uint8Array | null} digit
   */
  put(strokes, digit) {
    this.past.push({ strokes: this.strokes, digit: this.digit });
    [this.strokes, this.digit] = [strokes, digit];
    this.update();
  }

  /** @param {Point} point */
  extend(point) {
    this.strokes.at(-1)?.push(point);
    this.update();
  }

  lift() {
    this.drawing = false;
    this.redraw();
  }

  /**
   * The keyboard's way to draw.
   * @param {string} key
   * @returns {boolean} whether the key means something here
   */
  key(key) {
    const moves = {
      ArrowLeft: [-STEP, 0],
      ArrowRight: [STEP, 0],
      ArrowUp: [0, -STEP],
      ArrowDown: [0, STEP],
    };
    const move = moves[/** @type {keyof typeof moves} */ (key)];
    if (move) {
      const [across, down] = this.cursor.map((at, i) =>
        Math.min(SIZE - STEP, Math.max(STEP, at + move[i])),
      );
      this.cursor = [across, down];
      if (this.drawing) this.extend(this.cursor);
      else this.redraw();
    } else if (key === " ") {
      if (this.drawing) this.lift();
      else {
        this.begin(this.cursor);
        this.drawing = true;
        this.redraw();
      }
    } else if (key === "Backspace") this.undo();
    else return false;
    return true;
  }

  undo() {
    this.lift();
    Object.assign(this, this.past.pop());
    this.update();
  }

  clear() {
    this.lift();
    this.put([], null);
  }

  /**
   * Show a stored digit in place of a drawing.
   * @param {Uint8Array} pixels [784]
   */
  show(pixels) {
    this.lift();
    this.put([], pixels);
  }

  update() {
    this.redraw();
    this.changed();
  }

  /** @param {boolean} [cursor] whether the pen of the keyboard is shown */
  redraw(cursor = document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
    const pen = context(this.canvas);
    pen.fillStyle = "black";
    pen.fillRect(0, 0, SIZE, SIZE);
    this.digit?.forEach((grey, i) => {
      pen.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      pen.fillRect((i % 28) * 10, Math.floor(i / 28) * 10, 10, 10);
    });
    Object.assign(pen, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    pen.fillStyle = pen.strokeStyle = "white";
    for (const [first, ...others] of this.strokes) {
      pen.beginPath();
      pen.arc(...first, PEN / 2, 0, 2 * Math.PI);
      pen.fill();
      pen.beginPath();
      pen.moveTo(...first);
      for (const point of others) pen.lineTo(...point);
      pen.stroke();
    }
    if (cursor) this.showCursor(pen);
  }

  /** @param {CanvasRenderingContext2D} pen */
  showCursor(pen) {
    Object.assign(pen, { lineWidth: 2, strokeStyle: this.drawing ? "#ff800e" : "#5f9ed1" });
    pen.beginPath();
    pen.arc(...this.cursor, PEN / 2, 0, 2 * Math.PI);
    pen.stroke();
  }

  /** @returns {import("./prepare.js").Picture} what is drawn, without the pen */
  picture() {
    this.redraw(false);
    const { data } = context(this.canvas).getImageData(0, 0, SIZE, SIZE);
    this.redraw();
    const ink = Float32Array.from({ length: SIZE * SIZE }, (_, i) => data[4 * i] / 255);
    return { ink, height: SIZE, width: SIZE };
  }
}
