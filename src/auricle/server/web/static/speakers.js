// Who spoke: names that can be changed, shares of the time, and the text of one speaker alone.

import { el, uniqueId } from "./dom.js";
import { clock, percent } from "./format.js";
import { withWords } from "./words.js";

const COLOURS = 8; // as in widget.css; the ninth speaker has the first one's, and another name

/** "SPEAKER_00" → "Speaker 1"; a name that somebody gave stays. */
export function firstName(speaker) {
  const numbered = /^SPEAKER_(\d+)$/.exec(speaker);
  return numbered ? `Speaker ${Number(numbered[1]) + 1}` : speaker;
}

/** The speakers of a result in the order in which they speak: [{ speaker, seconds, share }], shares of all that is said. */
export function shares(segments) {
  const seconds = new Map();
  for (const { speaker, start, end } of segments) {
    if (speaker) seconds.set(speaker, (seconds.get(speaker) ?? 0) + Math.max(0, end - start));
  }
  const all = [...seconds.values()].reduce((sum, one) => sum + one, 0) || 1;
  return [...seconds].map(([speaker, spoken]) => ({ speaker, seconds: spoken, share: spoken / all }));
}

/** The text with a line for each turn, "Ann: …"; without speakers, as it is. */
export function turnText(result) {
  const segments = result.segments ?? [];
  if (!segments.some(({ speaker }) => speaker)) return result.text.trim();
  const lines = [];
  let before = null;
  for (const { speaker, text } of segments) {
    if (!text.trim()) continue;
    if (lines.length && speaker === before) lines[lines.length - 1] += ` ${text.trim()}`;
    else lines.push(`${speaker ? `${speaker}: ` : ""}${text.trim()}`);
    before = speaker;
  }
  return lines.join("\n");
}

export class SpeakersPanel {
  /** `onName()` is called when a name has changed, `onOnly(speaker)` when one is to be shown alone, or null for all. */
  constructor({ onName, onOnly }) {
    this.onName = onName;
    this.onOnly = onOnly;
    const title = uniqueId("speakers");
    this.list = el("ul", { class: "voices" });
    this.told = el("p", { class: "sr-only", role: "status" });
    this.element = el(
      "section",
      { class: "who", "aria-labelledby": title, hidden: true },
      el("h3", { id: title }, "Who spoke"),
      this.list,
      this.told,
    );
    this.clear();
  }

  clear() {
    this.names = new Map();
    this.only = null;
    this.element.hidden = true;
    this.list.replaceChildren();
    this.told.textContent = "";
  }

  /** Show the speakers of a result. */
  show(result) {
    this.clear();
    const found = shares(result.segments ?? []);
    for (const { speaker } of found) this.names.set(speaker, firstName(speaker));
    this.list.replaceChildren(...found.map((one, place) => this.#row(one, place)));
    this.element.hidden = !found.length;
  }

  /** The name that a speaker has here. */
  name(speaker) {
    return speaker ? (this.names.get(speaker) ?? firstName(speaker)) : null;
  }

  /** The class of a speaker's colour. */
  colour(speaker) {
    const place = [...this.names.keys()].indexOf(speaker);
    return place < 0 ? null : `voice-${(place % COLOURS) + 1}`;
  }

  /** A result with the names that are shown, everywhere: for files and for the clipboard. */
  renamed(result) {
    if (!this.names.size) return result;
    const withName = (part) => (part.speaker ? { ...part, speaker: this.name(part.speaker) } : part);
    const whole = { ...result, segments: (result.segments ?? []).map((segment) => ({ ...withName(segment), ...(segment.words ? { words: segment.words.map(withName) } : {}) })) };
    if (result.words) whole.words = result.words.map(withName);
    return { ...whole, segments: withWords(whole.segments, whole.words) };
  }

  #row({ speaker, seconds, share }, place) {
    const first = this.name(speaker);
    const input = el("input", { type: "text", value: first, autocomplete: "off", spellcheck: "false", maxlength: "80", "aria-label": `Name of ${first}` });
    const only = el("button", { type: "button", class: "small", "aria-pressed": "false", "aria-label": `Show only ${first}` }, "Only");
    input.addEventListener("change", () => {
      const name = input.value.replace(/\s+/g, " ").trim();
      input.value = name || first;
      this.names.set(speaker, input.value);
      only.setAttribute("aria-label", `Show only ${input.value}`);
      this.onName();
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") input.blur();
      if (event.key === "Escape") input.value = this.name(speaker);
    });
    only.addEventListener("click", () => this.#choose(this.only === speaker ? null : speaker));
    only.dataset.speaker = speaker;
    const bar = el("span", { class: "share-bar", "aria-hidden": "true" }, el("span", {}));
    bar.firstChild.style.width = `${100 * share}%`;
    return el(
      "li",
      { class: `voice voice-${(place % COLOURS) + 1}` },
      el("span", { class: "swatch", "aria-hidden": "true" }),
      input,
      el("span", { class: "share" }, `${clock(seconds, 1)} · ${percent(share, 0)}`),
      bar,
      only,
    );
  }

  #choose(speaker) {
    this.only = speaker;
    for (const button of this.list.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(speaker !== null && button.dataset.speaker === speaker));
    }
    this.told.textContent = speaker === null ? "All speakers are shown." : `Only ${this.name(speaker)} is shown.`;
    this.onOnly(speaker);
  }
}
