// One model's column on the compare page: its run, its figures, and its text beside another one.

import { address, idPath } from "./api.js";
import { diffWords, wordErrors, words } from "./diff.js";
import { el } from "./dom.js";
import { about, percent } from "./format.js";
import { knowledge } from "./options.js";
import { Progress } from "./progress.js";
import { transcribeWithPatience } from "./run.js";
import { silence } from "./silence.js";

export class Run {
  constructor(model) {
    this.model = model;
    this.done = null;
    this.seconds = null;
    this.figures = el("dl", { class: "figures" });
    this.text = el("p", { class: "run-text", dir: "auto" });
    this.progress = new Progress(() => this.abort?.abort());
    this.element = el(
      "section",
      { class: "run", "aria-label": model.id },
      el("h3", {}, el("a", { href: address(`models/${idPath(model.id)}`).href }, model.id)),
      this.progress.element,
      this.figures,
      this.text,
    );
  }

  /** Forget the last recording. */
  reset() {
    this.abort?.abort();
    this.done = null;
    this.seconds = null;
    this.figures.replaceChildren();
    this.text.replaceChildren();
    this.progress.busy("Waiting for its turn");
  }

  /** Transcribe; a model that is not loaded is loaded first, so that its loading is not counted. */
  async start(file, again) {
    this.abort = new AbortController();
    const { signal } = this.abort;
    const options = knowledge(this.model).noWords ? { timestamps: "segment" } : {};
    const run = (recording, event) =>
      transcribeWithPatience(recording, this.model.id, { options, useCache: false, signal, on: { event, waiting: (seconds) => this.#waiting(seconds) } });
    try {
      if (this.model.auricle?.state !== "ready") {
        this.progress.busy("Loading the model");
        await run(silence(), () => {});
        this.model.auricle.state = "ready";
      }
      this.progress.busy("Listening…");
      let written = "";
      const { done, seconds } = await run(file, (event) => {
        if (event.type === "transcript.progress" && event.duration) this.progress.busy("Listening…", Math.min(1, event.done / event.duration));
        if (event.type === "transcript.text.delta") this.text.textContent = written += event.delta;
      });
      Object.assign(this, { done, seconds });
      this.progress.rest("");
    } catch (error) {
      if (signal.aborted) this.progress.rest("Cancelled");
      else this.progress.fail(error, again);
    }
  }

  #waiting(seconds) {
    this.text.replaceChildren();
    this.progress.busy(`The model is loading; trying again in ${about(seconds)}`);
  }

  /** Show the text against `reference` ({ name, text }), or plainly where that is null or this run itself. */
  show(reference) {
    if (!this.done) return;
    const said = words(this.done.text);
    const isPlain = reference === null || reference.run === this;
    const told = [
      ["Time", `${this.seconds.toFixed(2)} s`],
      ...(this.done.duration ? [["RTF", `${(this.seconds / this.done.duration).toFixed(3)} (${(this.done.duration / this.seconds).toFixed(1)}×)`]] : []),
      ["Words", String(said.length)],
    ];
    if (!isPlain) {
      const { errors, rate } = wordErrors(words(reference.text), said);
      told.push([reference.run ? "Differs in" : "Word errors", `${errors} (${Number.isFinite(rate) ? percent(rate) : "—"})`]);
    }
    this.figures.replaceChildren(...told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    this.text.replaceChildren(...(isPlain ? [this.done.text.trim() || "No speech was recognised."] : marked(words(reference.text), said)));
  }
}

/** The words of `said`, with what differs from `reference` marked: struck out where missing, underlined where added. */
function marked(reference, said) {
  const written = (some) => some.map((word) => word.written).join(" ");
  const nodes = [];
  for (const { kind, a, b } of diffWords(reference, said)) {
    if (kind === "same") nodes.push(written(b));
    if (kind === "replaced" || kind === "missing") nodes.push(el("del", {}, written(a)));
    if (kind === "replaced" || kind === "added") nodes.push(el("ins", {}, written(b)));
  }
  return nodes.flatMap((node, i) => (i ? [" ", node] : [node]));
}
