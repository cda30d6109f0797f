// The text: segments with their times and words, written as they come, marked in step with playback.

import { el, uniqueId } from "./dom.js";
import { clock, percent } from "./format.js";
import { doubt, parts, withWords, wordAt } from "./words.js";

const SPOKEN = 5; // passages that a screen reader may still have to say
const FOLLOW_AGAIN_MS = 4000; // after somebody scrolls, the text does not move by itself for so long

export class TranscriptView {
  /** `onSeek(seconds)` is called when a word or a time is chosen; `speakers` has their names and colours. */
  constructor(onSeek, speakers = null) {
    this.onSeek = onSeek;
    this.speakers = speakers;
    const hint = uniqueId("transcript-hint");
    this.list = el("ol", { class: "segments", "aria-label": "Text", "aria-describedby": hint });
    this.pendingText = el("p", { class: "pending", "aria-hidden": "true" });
    this.spoken = el("div", { class: "sr-only", role: "log", "aria-live": "polite", "aria-label": "New text" });
    this.element = el(
      "div",
      { class: "transcript shading" },
      this.list,
      this.pendingText,
      this.spoken,
      el("p", { class: "hint keys", id: hint }, "Up and down go from passage to passage, left and right from word to word; Enter plays from there."),
    );
    this.list.addEventListener("click", (event) => this.#click(event));
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("focusout", (event) => this.#leave(event.target));
    for (const name of ["wheel", "touchmove"]) {
      addEventListener(name, () => (this.scrolledAt = performance.now()), { passive: true });
    }
    this.clear();
  }

  clear() {
    this.segments = [];
    this.words = [];
    this.now = -1;
    this.scrolledAt = -FOLLOW_AGAIN_MS;
    this.language = null;
    this.list.replaceChildren();
    this.pendingText.textContent = "";
    this.spoken.replaceChildren();
  }

  get isEmpty() {
    return !this.segments.length && !this.pendingText.textContent;
  }

  /** Text that is written but has no times yet. */
  addDelta(delta) {
    this.pendingText.textContent += delta;
  }

  /** A segment that is final; it takes the place of the pending text that says the same. */
  addSegment(segment) {
    const pending = this.pendingText.textContent.trimStart();
    const text = segment.text.trim();
    this.pendingText.textContent = pending.startsWith(text) ? pending.slice(text.length) : "";
    this.#append(segment);
    this.spoken.append(el("p", {}, text));
    if (this.spoken.childElementCount > SPOKEN) this.spoken.firstChild.remove();
  }

  /** The whole result. What is on the page already stays, so that neither focus nor place are lost. */
  finish(done) {
    const said = withWords(done.segments ?? [], done.words).filter((segment) => segment.text.trim());
    // Who speaks is known at the end only, and with it the colours.
    const isSame =
      !said.some(({ speaker }) => speaker) &&
      said.length === this.segments.length &&
      said.every((segment, i) => isAlike(segment, this.segments[i]));
    if (!isSame) this.#replace(said);
    this.pendingText.textContent = "";
    if (!this.segments.length && done.text?.trim()) this.#append({ text: done.text.trim(), start: null, words: [] });
    if (!this.spoken.childElementCount && done.text) this.spoken.append(el("p", {}, done.text));
  }

  #replace(segments) {
    this.segments = [];
    this.words = [];
    this.now = -1;
    this.list.replaceChildren();
    for (const segment of segments) this.#append(segment);
  }

  #append(segment) {
    const isFirst = !this.segments.length;
    this.segments.push(segment);
    const hasTime = Number.isFinite(segment.start);
    const stamp = el(
      "button",
      {
        type: "button",
        class: "stamp",
        tabindex: isFirst ? "0" : "-1",
        "data-start": hasTime ? String(segment.start) : null,
        "aria-label": hasTime ? `Play from ${clock(segment.start, 1)}` : null,
      },
      hasTime ? clock(segment.start, 1) : "",
    );
    const colour = segment.speaker ? this.speakers?.colour(segment.speaker) : null;
    const channel = Number.isInteger(segment.channel) ? `Channel ${segment.channel + 1}` : null;
    const isTurn = isFirst || segment.speaker !== this.segments.at(-2).speaker || !segment.speaker;
    const who = isTurn ? (this.#nameOf(segment.speaker) ?? channel) : null;
    const language = segment.language ?? this.language;
    const said = el("p", { class: "said", lang: language, dir: "auto" }, who ? el("strong", { class: "speaker" }, `${who} `) : null);
    for (const part of parts(segment.text.trim(), segment.words ?? [])) said.append(part.word ? this.#word(part) : part.text);
    this.list.append(el("li", { class: `segment${colour ? ` voice ${colour}` : ""}`, "data-speaker": segment.speaker || null }, hasTime ? stamp : null, said));
  }

  #nameOf(speaker) {
    return speaker ? (this.speakers?.name(speaker) ?? speaker) : null;
  }

  /** Write the speakers' names anew. */
  rename() {
    for (const label of this.list.querySelectorAll("[data-speaker] .speaker")) {
      label.textContent = `${this.#nameOf(label.closest("[data-speaker]").dataset.speaker)} `;
    }
  }

  /** Show the passages of one speaker, or all of them where it is null. */
  showOnly(speaker) {
    for (const item of this.list.children) item.hidden = speaker !== null && item.dataset.speaker !== speaker;
    const stamps = [...this.list.querySelectorAll(".segment:not([hidden]) .stamp")];
    if (stamps.length && !stamps.some((stamp) => stamp.tabIndex === 0)) this.#rove(stamps[0]);
  }

  #word({ text, word }) {
    const degree = doubt(word);
    const title = degree ? `${percent(word.confidence, 0)} sure` : null;
    const element = el("span", { class: `word${degree ? ` doubt-${degree}` : ""}`, title, tabindex: "-1" }, text);
    element.dataset.word = String(this.words.length);
    this.words.push({ start: word.start, end: word.end, confidence: word.confidence, text, element });
    return element;
  }

  get doubtful() {
    return this.words.filter((word) => doubt(word)).length;
  }

  /** Mark the word that is heard at a time, and keep it in view while it plays. */
  highlight(time, isPlaying) {
    const index = wordAt(this.words, time);
    if (index === this.now) return;
    this.words[this.now]?.element.classList.remove("is-now");
    this.now = index;
    const element = this.words[index]?.element;
    if (!element) return;
    element.classList.add("is-now");
    if (isPlaying && performance.now() - this.scrolledAt > FOLLOW_AGAIN_MS) this.#keepInView(element);
  }

  #keepInView(element) {
    const box = element.getBoundingClientRect();
    const top = document.querySelector(".player")?.getBoundingClientRect().bottom ?? 0;
    if (box.top >= top && box.bottom <= innerHeight - 40) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    element.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
  }

  #click(event) {
    const target = event.target.closest("[data-word], [data-start]");
    if (!target) return;
    this.onSeek(target.dataset.word ? this.words[Number(target.dataset.word)].start : Number(target.dataset.start));
    if (target.dataset.start) this.#rove(target);
  }

  #key(event) {
    const stamps = [...this.list.querySelectorAll(".segment:not([hidden]) .stamp")];
    const word = event.target.closest("[data-word]");
    if (word && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      this.onSeek(this.words[Number(word.dataset.word)].start);
      return;
    }
    const stamp = event.target.closest(".segment")?.querySelector(".stamp");
    const target = this.#neighbour(event.key, word, stamp, stamps);
    if (!target) return;
    event.preventDefault();
    if (target.dataset.word) this.#enter(target);
    else this.#rove(target);
    target.focus();
  }

  #neighbour(key, word, stamp, stamps) {
    const at = stamps.indexOf(stamp);
    if (key === "ArrowDown") return stamps[at + 1];
    if (key === "ArrowUp") return word ? stamp : stamps[at - 1];
    if (key === "Home") return stamps[0];
    if (key === "End") return stamps.at(-1);
    if (key !== "ArrowLeft" && key !== "ArrowRight") return null;
    if (!word) return key === "ArrowRight" ? stamp?.parentElement.querySelector("[data-word]") : null;
    return this.words[Number(word.dataset.word) + (key === "ArrowRight" ? 1 : -1)]?.element;
  }

  /** One stamp alone is a stop of the Tab key. */
  #rove(stamp) {
    for (const other of this.list.querySelectorAll('.stamp[tabindex="0"]')) other.tabIndex = -1;
    stamp.tabIndex = 0;
  }

  /** A word is plain text to a screen reader until the keyboard is on it: a text of buttons would be hard to hear. */
  #enter(element) {
    const word = this.words[Number(element.dataset.word)];
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", [word.text, clock(word.start, 1), element.title].filter(Boolean).join(", "));
  }

  #leave(element) {
    if (!element.dataset?.word) return;
    element.removeAttribute("role");
    element.removeAttribute("aria-label");
  }
}

/** Whether a passage is on the page as it is in the result. */
function isAlike(segment, shown) {
  return segment.text.trim() === shown.text.trim() && segment.words?.length === shown.words?.length;
}
