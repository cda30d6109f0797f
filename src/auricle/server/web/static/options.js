// What can be chosen for a model: only what it knows is shown.

import { el, field } from "./dom.js";
import { languageName } from "./format.js";

// By model family. Families that are not here take none of these; all but those with `noWords` know when words are said. Those with
// `letters` may write letters alone.
const FAMILIES = {
  whisper: { prompt: true, hotwords: true, translates: true },
  moonshine: { noWords: true },
  wav2vec2: { hotwords: true, letters: true },
  hubert: { hotwords: true, letters: true },
  wavlm: { hotwords: true, letters: true },
  parakeet_ctc: { hotwords: true, letters: true },
};

/** What a model of the catalogue knows. */
export function knowledge(model) {
  return FAMILIES[model?.auricle?.model_type] ?? {};
}

export class OptionsPanel {
  constructor(onChange) {
    this.onChange = onChange;
    this.form = el("form", { class: "options", "aria-label": "Options" });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.onChange());
    const isWide = matchMedia("(min-width: 60.01rem)").matches; // as in widget.css
    this.element = el("details", { class: "side", open: isWide }, el("summary", {}, "Options"), this.form);
    this.controls = {};
    this.fixed = {};
    this.speakerOptions = this.#speakers();
  }

  /** Show what a model of the list knows; what was chosen before it was known stays chosen. */
  setModel(model) {
    const before = this.controls;
    const knows = knowledge(model);
    const languages = model?.auricle?.languages ?? [];
    this.controls = {};
    this.fixed = knows.noWords ? { timestamps: "segment" } : {};
    const fields = [];
    const add = (name, label, control, hint) => {
      this.controls[name] = control;
      if (before[name]) control.value = before[name].value;
      fields.push(field(label, control, hint));
    };
    if (languages.length > 1) add("language", "Language spoken", languageSelect(languages));
    if (knows.translates && languages.length !== 1) {
      add("task", "Write", select([["transcribe", "What is said"], ["translate", "A translation into English"]]));
    }
    if (!knows.noWords) add("timestamps", "Times of", select([["word", "Words"], ["segment", "Passages only"]]));
    if (knows.letters && (!languages.length || languages.includes("en"))) {
      add("punctuate", "Punctuation", select([["", "As the model writes"], ["true", "Put into English"]]));
    }
    if (knows.prompt) add("prompt", "Prompt", el("textarea", { rows: 3 }), "Text that sets style and spelling, as if it came before.");
    if (knows.hotwords) add("hotwords", "Words to favour", el("input", { type: "text", autocomplete: "off" }), "Names and terms, with commas between.");
    this.form.replaceChildren(...fields, this.speakerOptions);
    this.element.hidden = false;
  }

  /** Whether speakers are told apart, and how many there are. */
  #speakers() {
    const box = el("input", { type: "checkbox" });
    const counts = [["true", "Find out"], ...Array.from({ length: 10 }, (_, i) => [String(i + 1), i ? `${i + 1} speakers` : "1 speaker"])];
    const count = select(counts);
    const number = field("How many speak", count);
    number.hidden = true;
    box.addEventListener("change", () => (number.hidden = !box.checked));
    this.speakers = { box, count };
    return el("div", { class: "speaker-options" }, el("label", { class: "check" }, box, "Tell who spoke"), number);
  }

  /** The options as api.js takes them; what is left as it was is left out. */
  get values() {
    const values = { ...this.fixed };
    for (const [name, control] of Object.entries(this.controls)) {
      const value = control.value.trim();
      const isDefault = value === "" || (name === "task" && value === "transcribe") || (name === "timestamps" && value === "word");
      if (!isDefault) values[name] = value;
    }
    if (this.speakers?.box.checked) values.speakers = this.speakers.count.value;
    return values;
  }
}

function select(pairs) {
  return el("select", {}, pairs.map(([value, text]) => el("option", { value }, text)));
}

function languageSelect(codes) {
  const known = codes.map((code) => [code, languageName(code)]).sort((a, b) => a[1].localeCompare(b[1]));
  return select([["", "Detect it"], ...known]);
}
