// Plays a recording: play and pause, speed, time, and the waveform as its slider.

import { el, icon, uniqueId } from "./dom.js";
import { clock } from "./format.js";
import { findPeaks } from "./peaks.js";
import { Waveform } from "./waveform.js";

const SPEEDS = [0.75, 1, 1.25, 1.5, 2];
const FAR_S = 1e7; // beyond every recording: seeking there makes a browser find the end

export class Player {
  /** `onTime(seconds)` is called at every frame while it plays, and after each seek. */
  constructor(onTime) {
    this.onTime = onTime;
    this.audio = el("audio", { preload: "metadata" });
    this.waveform = new Waveform((time) => this.seek(time));
    this.button = el("button", { type: "button", class: "play", "aria-label": "Play", disabled: true, onclick: () => this.toggle() }, icon("play"));
    this.name = el("span", { class: "player-name" });
    this.time = el("span", { class: "player-time" }, "0:00");
    this.note = el("p", { class: "hint", hidden: true });
    const id = uniqueId("speed");
    this.speed = el("select", { id, class: "speed" }, SPEEDS.map((speed) => el("option", { value: String(speed) }, `${speed}×`)));
    this.speed.value = "1";
    this.speed.addEventListener("change", () => (this.audio.playbackRate = Number(this.speed.value)));
    this.element = el(
      "section",
      { class: "player", "aria-label": "Recording", hidden: true },
      el("div", { class: "player-top" }, this.name, this.time, el("label", { class: "sr-only", for: id }, "Speed"), this.speed),
      el("div", { class: "player-line" }, this.button, this.waveform.element),
      this.note,
      this.audio,
    );
    this.#listen();
  }

  get duration() {
    return this.waveform.duration;
  }

  #listen() {
    for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.#state());
    this.audio.addEventListener("seeked", () => this.#tick());
    this.audio.addEventListener("error", () => this.#cannotPlay());
    this.audio.addEventListener("loadedmetadata", () => (this.button.disabled = false));
    this.audio.addEventListener("durationchange", () => {
      if (Number.isFinite(this.audio.duration)) this.setDuration(this.audio.duration);
    });
  }

  /** Show a file; resolves when its waveform is drawn, or is known to be none. */
  async open(file) {
    this.close();
    this.file = file;
    this.name.textContent = file.name;
    this.element.hidden = false;
    this.url = URL.createObjectURL(file);
    this.audio.src = this.url;
    this.audio.playbackRate = Number(this.speed.value);
    const seconds = await this.#knownDuration();
    const found = await findPeaks(file, seconds).catch(() => ({ peaks: null, duration: null }));
    if (this.file !== file) return; // another one was opened meanwhile
    this.waveform.update({ peaks: found.peaks });
    if (found.duration) this.setDuration(found.duration);
    if (!found.peaks && !this.audio.error) this.#tell("Too long, or of a kind that this browser cannot draw; the text is not affected.");
  }

  /** Seconds from the file's head. What browsers record has none there, until one seeks to the end. */
  async #knownDuration() {
    const settled = (...names) =>
      new Promise((resolve) => names.forEach((name) => this.audio.addEventListener(name, resolve, { once: true })));
    if (this.audio.readyState < 1) await settled("loadedmetadata", "error", "emptied");
    if (this.audio.duration === Infinity) {
      const found = settled("durationchange", "error", "emptied");
      this.audio.currentTime = FAR_S;
      await found;
      this.audio.currentTime = 0;
    }
    return Number.isFinite(this.audio.duration) ? this.audio.duration : 0;
  }

  setDuration(seconds) {
    if (!(seconds > 0)) return;
    this.waveform.update({ duration: seconds });
    this.#showTime();
  }

  close() {
    this.audio.pause();
    this.file = null;
    this.audio.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.button.disabled = true;
    this.note.hidden = true;
    this.waveform.clear();
    this.#showTime();
  }

  toggle() {
    if (this.button.disabled) return;
    if (this.audio.paused) this.audio.play().catch(() => this.#cannotPlay());
    else this.audio.pause();
  }

  seek(seconds) {
    if (this.button.disabled) return;
    this.audio.currentTime = seconds;
    this.#tick(); // the next step counts from there, though the browser may still be on its way
  }

  #state() {
    const isPlaying = !this.audio.paused && !this.audio.ended;
    this.button.replaceChildren(icon(isPlaying ? "pause" : "play"));
    this.button.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    if (isPlaying) this.#frame();
  }

  #frame() {
    this.#tick();
    if (!this.audio.paused && !this.audio.ended) requestAnimationFrame(() => this.#frame());
  }

  #tick() {
    if (!this.file || this.audio.currentTime > this.duration + 1) return; // while the end is looked for
    this.waveform.update({ time: this.audio.currentTime });
    this.#showTime();
    this.onTime(this.audio.currentTime, !this.audio.paused);
  }

  #showTime() {
    const text = `${clock(this.waveform.time)} / ${this.duration ? clock(this.duration) : "–:––"}`;
    if (this.time.textContent !== text) this.time.textContent = text;
  }

  #cannotPlay() {
    if (!this.file) return;
    this.button.disabled = true;
    this.#tell("This browser cannot play this kind of file; the server may still transcribe it.");
  }

  #tell(message) {
    this.note.textContent = message;
    this.note.hidden = false;
  }
}
