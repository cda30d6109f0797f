// <auricle-widget model="org/name">: speak, drop or choose a recording, and read it as it is written.

import { describeModel } from "./api.js";
import { copyButton } from "./clipboard.js";
import { showCode } from "./code.js";
import { el, icon, notice, uniqueId } from "./dom.js";
import { downloadButtons } from "./downloads.js";
import { explain } from "./errors.js";
import { SPEECH, about, bytes, clock, taskName } from "./format.js";
import { OptionsPanel } from "./options.js";
import { Player } from "./player.js";
import { Progress } from "./progress.js";
import { transcribeWithPatience } from "./run.js";
import { snippets } from "./snippets.js";
import { SourcePicker } from "./source.js";
import { SpeakersPanel, turnText } from "./speakers.js";
import { storedToken } from "./token.js";
import { TranscriptView } from "./transcript.js";

const WARNINGS = {
  skipped: "No voice",
  no_speech: "No speech",
  unheard: "Voice without text",
  hallucination: "Text dropped",
  repetition: "Repetition",
  doubtful: "Doubtful",
  clipped: "Overloaded",
  language: "Language",
  unaligned: "Times",
  too_short: "Too short",
  truncated: "Cut off",
  recording: "Recording",
  parameter: "Option",
};

class AuricleWidget extends HTMLElement {
  connectedCallback() {
    if (this.player) return; // it was only moved
    this.model = this.getAttribute("model") ?? "";
    this.file = null;
    this.result = null;
    this.abort = null;
    this.options = new OptionsPanel(() => this.#optionsChanged());
    this.source = new SourcePicker({
      onFile: (file) => this.#open(file),
      live: () => ({ model: this.model, language: this.options.values.language }),
    });
    this.player = new Player((time, isPlaying) => this.transcript.highlight(time, isPlaying));
    this.speakers = new SpeakersPanel({ onName: () => this.transcript.rename(), onOnly: (speaker) => this.transcript.showOnly(speaker) });
    this.transcript = new TranscriptView((time) => this.player.seek(time), this.speakers);
    this.progress = new Progress(() => this.abort?.abort());
    this.warnings = el("section", { class: "warnings", "aria-label": "Warnings", hidden: true });
    this.#buildResult();
    this.code = el("section", { class: "code", "aria-labelledby": "code-title" });
    const work = el("div", { class: "work" }, this.player.element, this.progress.element, this.resultBox);
    this.append(el("div", { class: "widget" }, this.source.element, this.options.element, work, this.code));
    this.#setModel(null);
    this.#describe();
  }

  /** Ask what the catalogue says of the model, tell it by the event "described", and fit the options to it. */
  async #describe() {
    try {
      const model = await describeModel(this.model);
      if (model.pipeline_tag && model.pipeline_tag !== SPEECH) this.#onlyCode(model);
      this.#setModel(model);
      this.dispatchEvent(new CustomEvent("described", { detail: model }));
    } catch (error) {
      const { title, detail } = explain(error);
      this.replaceChildren(notice("bad", `${title}. ${detail}`));
    }
  }

  /** What is no speech recognition has no widget here. */
  #onlyCode(model) {
    const task = taskName(model.pipeline_tag).toLowerCase();
    this.replaceChildren(notice("", `This page tries out speech recognition only; a model for ${task} is there by the API.`));
  }

  #setModel(model) {
    const languages = model?.auricle?.languages ?? [];
    this.language = languages.length === 1 ? languages[0] : null;
    this.options.setModel(model);
    this.#showCode();
  }

  #buildResult() {
    this.again = el("button", { type: "button", class: "small", onclick: () => this.#run(false) }, "Transcribe again");
    const shading = el("input", { type: "checkbox", checked: true });
    shading.addEventListener("change", () => this.transcript.element.classList.toggle("shading", shading.checked));
    const stamps = el("input", { type: "checkbox", checked: true });
    stamps.addEventListener("change", () => this.transcript.element.classList.toggle("no-stamps", !stamps.checked));
    this.views = el(
      "div",
      { class: "row views" },
      el("label", { class: "check" }, stamps, "Times"),
      el("label", { class: "check" }, shading, "Shade doubtful words"),
    );
    this.files = downloadButtons(
      () => ({ result: this.speakers.renamed(this.result), name: this.file.name }),
      (error) => this.progress.fail(error, null),
    );
    this.copy = copyButton("Copy text", () => turnText(this.speakers.renamed(this.result)));
    this.outputs = el("div", { class: "row outputs", hidden: true }, this.copy, this.files, this.again);
    this.doubtNote = el("p", { class: "hint" });
    const title = uniqueId("result");
    this.resultBox = el(
      "section",
      { class: "result", "aria-labelledby": title, hidden: true },
      el("div", { class: "result-head" }, el("h2", { id: title }, "Text"), this.views),
      this.speakers.element,
      this.transcript.element,
      this.doubtNote,
      this.outputs,
      this.warnings,
    );
  }

  #open(file) {
    this.file = file;
    this.player.open(file);
    this.#showCode();
    this.#run(true);
  }

  #optionsChanged() {
    this.#showCode();
    if (this.file && !this.hasAttribute("aria-busy")) this.#showOutputs();
  }

  async #run(useCache) {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.#reset();
    this.progress.busy(`Sending ${bytes(this.file.size)}…`);
    this.setAttribute("aria-busy", "true");
    try {
      const outcome = await transcribeWithPatience(this.file, this.model, {
        options: this.options.values,
        useCache,
        signal: abort.signal,
        on: { event: (event) => this.#event(event), waiting: (seconds) => this.#waiting(seconds) },
      });
      if (abort === this.abort) this.#finish(outcome);
    } catch (error) {
      if (abort === this.abort) this.#failed(error, abort);
    } finally {
      if (abort === this.abort) this.removeAttribute("aria-busy");
    }
  }

  #reset() {
    this.result = null;
    this.transcript.clear();
    this.speakers.clear();
    this.transcript.language = this.options.values.task === "translate" ? "en" : (this.options.values.language ?? this.language);
    this.warnings.hidden = true;
    this.doubtNote.textContent = "";
    this.outputs.hidden = true;
    this.resultBox.hidden = true;
    this.player.waveform.update({ heard: 0, spans: [] });
  }

  #waiting(seconds) {
    this.transcript.clear();
    this.progress.busy(`The model is loading; trying again in ${about(seconds)}.`);
  }

  #event(event) {
    const { type } = event;
    if (type === "answered") this.progress.busy("Listening…");
    else if (type === "transcript.progress") this.#heard(event.done, event.duration);
    else if (type === "transcript.text.delta") this.transcript.addDelta(event.delta);
    else if (type === "transcript.text.segment") this.transcript.addSegment(event);
    if (type.startsWith("transcript.text") && !this.transcript.isEmpty) this.resultBox.hidden = false;
  }

  #heard(done, duration) {
    const whole = duration || this.player.duration;
    const isWhole = whole && done >= whole && this.options.values.speakers;
    if (isWhole) this.progress.busy("Telling the speakers apart…");
    else this.progress.busy(whole ? `Heard ${clock(done)} of ${clock(whole)}` : `Heard ${clock(done)}`, whole ? Math.min(1, done / whole) : null);
    this.player.waveform.update({ heard: done });
  }

  #finish({ done, seconds }) {
    this.result = done;
    this.resultBox.hidden = false;
    this.speakers.show(done);
    this.transcript.finish(done);
    if (!this.player.duration && done.duration) this.player.setDuration(done.duration);
    const warnings = done.warnings ?? [];
    this.player.waveform.update({ heard: null, spans: warnings.filter(({ start, end }) => Number.isFinite(start) && Number.isFinite(end)) });
    this.#showWarnings(warnings);
    this.progress.rest(`${clock(done.duration ?? 0, 1)} of audio, written down in ${seconds < 0.1 ? "less than 0.1" : seconds.toFixed(1)} s.`);
    this.#showOutputs();
    this.#showCode(); // a token may have been asked for
    this.dispatchEvent(new CustomEvent("transcribed"));
    if (this.transcript.isEmpty) this.doubtNote.textContent = "No speech was recognised in this recording.";
    else if (this.transcript.doubtful) this.doubtNote.textContent = doubtTold(this.transcript.doubtful, this.transcript.words.length);
  }

  #failed(error, abort) {
    this.player.waveform.update({ heard: null });
    if (abort.signal.aborted) {
      this.progress.rest("Cancelled. What had been written stays.");
      this.resultBox.hidden = false;
      this.#showOutputs();
    } else {
      this.progress.fail(error, () => this.#run(true));
    }
  }

  /** What can be done with the result: without one, only to make it. */
  #showOutputs() {
    this.outputs.hidden = false;
    this.copy.hidden = this.result === null;
    this.files.hidden = this.result === null;
  }

  #showWarnings(warnings) {
    this.warnings.hidden = !warnings.length;
    this.warnings.replaceChildren(
      el("h3", {}, icon("warn"), warnings.length === 1 ? "One thing to know" : `${warnings.length} things to know`),
      el("ul", {}, warnings.map((warning) => this.#warning(warning))),
    );
  }

  #warning({ kind, message, start, end }) {
    const hasSpan = Number.isFinite(start);
    const span = hasSpan ? `${clock(start, 1)}${Number.isFinite(end) ? ` – ${clock(end, 1)}` : ""}` : null;
    const play = hasSpan ? el("button", { type: "button", class: "stamp", "aria-label": `Play from ${clock(start, 1)}`, onclick: () => this.player.seek(start) }, span) : null;
    return el("li", {}, el("strong", {}, WARNINGS[kind] ?? kind), play, el("span", {}, message));
  }

  #showCode() {
    const request = { model: this.model, options: this.options.values, file: this.file?.name ?? "recording.wav", hasToken: Boolean(storedToken()) };
    showCode(this.code, snippets(request));
  }
}

function doubtTold(doubtful, all) {
  return `${doubtful} of ${all} words ${doubtful === 1 ? "is" : "are"} doubtful: the model gives them less than 75 %, and less than 50 % where the line is double.`;
}

customElements.define("auricle-widget", AuricleWidget);
