// The waveform: a canvas that is also the slider of the player.

import { el } from "./dom.js";
import { clock, spokenTime } from "./format.js";

const BAR = 2;
const GAP = 1;
const STEP_S = 5;

export class Waveform {
  /** `onSeek(seconds)` is called when the user chooses a time. */
  constructor(onSeek) {
    this.onSeek = onSeek;
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.element = el(
      "div",
      { class: "waveform", role: "slider", tabindex: "0", "aria-label": "Position", "aria-valuemin": "0" },
      this.canvas,
    );
    this.clear();
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("pointerdown", (event) => this.#drag(event));
    this.element.addEventListener("pointermove", (event) => event.buttons && this.#drag(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
    document.addEventListener("themechange", () => this.draw());
  }

  clear() {
    Object.assign(this, { peaks: null, duration: 0, time: 0, heard: null, spans: [] });
    this.draw();
  }

  /** Any of: peaks, duration, time, heard (seconds that are decoded, null: all), spans ([{start, end}] to mark). */
  update(values) {
    const isSame = Object.entries(values).every(([key, value]) => this[key] === value);
    if (isSame) return;
    Object.assign(this, values);
    this.draw();
  }

  #seek(time) {
    if (this.duration > 0) this.onSeek(Math.min(Math.max(0, time), this.duration));
  }

  #drag(event) {
    const box = this.element.getBoundingClientRect();
    this.#seek(((event.clientX - box.left) / box.width) * this.duration);
  }

  #key(event) {
    const to = {
      ArrowLeft: this.time - STEP_S,
      ArrowDown: this.time - STEP_S,
      ArrowRight: this.time + STEP_S,
      ArrowUp: this.time + STEP_S,
      PageDown: this.time - 6 * STEP_S,
      PageUp: this.time + 6 * STEP_S,
      Home: 0,
      End: this.duration,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#seek(to);
  }

  draw() {
    this.element.setAttribute("aria-valuemax", String(Math.round(this.duration)));
    this.element.setAttribute("aria-valuenow", String(Math.round(this.time)));
    this.element.setAttribute("aria-valuetext", `${spokenTime(this.time)} of ${spokenTime(this.duration)}`);
    this.element.title = this.duration ? `${clock(this.time)} of ${clock(this.duration)}` : "";
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!width) return; // not shown
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.#drawSpans(pen, width, height, colour("warn"));
    this.#drawBars(pen, width, height, colour);
    if (this.duration) {
      pen.fillStyle = colour("accent");
      pen.fillRect(Math.min(width - 2, this.#x(this.time, width)), 0, 2, height);
    }
  }

  #x(time, width) {
    return this.duration ? (time / this.duration) * width : 0;
  }

  #drawSpans(pen, width, height, colour) {
    pen.fillStyle = colour;
    for (const { start, end } of this.spans) {
      const left = this.#x(start, width);
      pen.fillRect(left, height - 3, Math.max(2, this.#x(end, width) - left), 3);
    }
  }

  #drawBars(pen, width, height, colour) {
    const count = Math.floor(width / (BAR + GAP));
    const played = this.#x(this.time, width);
    const heard = this.heard === null ? width : this.#x(this.heard, width);
    const room = height - 10;
    const fills = [colour("accent"), colour("wave"), colour("wave-faint")];
    for (let bar = 0; bar < count; bar += 1) {
      const x = bar * (BAR + GAP);
      const size = Math.max(2, this.#peak(bar, count) * room);
      pen.fillStyle = x < played ? fills[0] : x < heard ? fills[1] : fills[2];
      pen.fillRect(x, (height - 4 - size) / 2, BAR, size);
    }
  }

  /** The loudest peak under a bar; without peaks a thin line. */
  #peak(bar, count) {
    if (!this.peaks) return 0;
    const from = Math.floor((bar * this.peaks.length) / count);
    const to = Math.max(from + 1, Math.floor(((bar + 1) * this.peaks.length) / count));
    let peak = 0;
    for (let i = from; i < to && i < this.peaks.length; i += 1) peak = Math.max(peak, this.peaks[i]);
    return peak;
  }
}
