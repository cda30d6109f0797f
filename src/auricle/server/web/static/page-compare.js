// The compare page: several models on one recording, one after the other, and the words on which they differ.

import { listModels } from "./api.js";
import { Run } from "./comparison.js";
import { el, field, icon, notice } from "./dom.js";
import { explain } from "./errors.js";
import { SPEECH } from "./format.js";
import { Player } from "./player.js";
import { SourcePicker } from "./source.js";

const TYPED = "typed"; // the reference that is written by hand
const NOBODY = "nothing";
const DRAWING_MS = 10_000; // the most that is waited for the waveform

class Comparison {
  constructor(models) {
    this.models = models;
    this.runs = [];
    this.file = null;
    this.turn = 0; // which recording the runs are for
    this.player = new Player(() => {});
    this.source = new SourcePicker({ onFile: (file, sample) => this.open(file, sample) });
    this.chosen = el("ul", { class: "chosen", "aria-label": "Models to compare" });
    this.adder = el("select", {});
    this.add = el("button", { type: "button", onclick: () => this.addModel(this.adder.value) }, "Add");
    this.reference = el("select", { onchange: () => this.showAll() });
    this.typed = el("textarea", { rows: 3, oninput: () => this.showAll() });
    this.typedField = field("What was really said", this.typed);
    this.columns = el("div", { class: "runs", hidden: true });
    this.status = el("p", { class: "sr-only", role: "status" });
    this.legend = el("p", { class: "legend", hidden: true }, el("span", {}, el("del", {}, "struck out"), " is only in the text compared with"), el("span", {}, el("ins", {}, "underlined"), " is only in this one"), el("span", {}, "Capitals and punctuation do not count."));
    this.element = el("div", { class: "stack" }, this.#modelsBox(), this.source.element, this.player.element, this.#referenceBox(), this.columns, this.status);
    const asked = new URLSearchParams(location.search).getAll("model").filter((id) => this.#find(id));
    for (const id of asked.length ? asked : models.slice(0, 2).map((model) => model.id)) this.addModel(id);
  }

  #modelsBox() {
    this.adderRow = el("div", { class: "row adder" }, field("Another model", this.adder), this.add);
    this.alone = el("p", { class: "hint" }, "This server has one model. Name more when you start it: ", el("code", {}, "auricle serve --model ONE --model ANOTHER"));
    return el(
      "section",
      { class: "compare-models", "aria-labelledby": "compare-models" },
      el("h2", { id: "compare-models" }, "Models"),
      this.chosen,
      this.adderRow,
      this.alone,
    );
  }

  #referenceBox() {
    this.referenceSection = el("section", { class: "stack", "aria-label": "Differences", hidden: true }, el("div", { class: "filters" }, field("Compare with", this.reference)), this.typedField, this.legend);
    return this.referenceSection;
  }

  #find(id) {
    return this.models.find((model) => model.id === id);
  }

  addModel(id) {
    const model = this.#find(id);
    if (!model || this.runs.some((run) => run.model === model)) return;
    const run = new Run(model);
    this.runs.push(run);
    this.columns.append(run.element);
    this.#changed();
    if (this.file) this.#startAll([run]);
  }

  removeModel(run) {
    run.abort?.abort();
    const at = this.runs.indexOf(run);
    this.runs.splice(at, 1);
    run.element.remove();
    this.#changed();
    (this.chosen.querySelectorAll("button")[Math.max(0, at - 1)] ?? this.adder).focus();
    this.showAll();
  }

  #changed() {
    const query = new URLSearchParams(this.runs.map((run) => ["model", run.model.id]));
    history.replaceState(null, "", `${location.pathname}${this.runs.length ? `?${query}` : ""}`);
    this.chosen.replaceChildren(
      ...this.runs.map((run) =>
        el("li", {}, run.model.id, el("button", { type: "button", class: "quiet small", "aria-label": `Remove ${run.model.id}`, onclick: () => this.removeModel(run) }, icon("close"))),
      ),
    );
    const rest = this.models.filter((model) => !this.runs.some((run) => run.model === model));
    this.adder.replaceChildren(...rest.map((model) => el("option", { value: model.id }, model.id)));
    this.adderRow.hidden = !rest.length;
    this.alone.hidden = this.models.length > 1;
    const before = this.reference.value;
    this.reference.replaceChildren(
      ...this.runs.map((run) => el("option", { value: `model:${run.model.id}` }, run.model.id)),
      el("option", { value: TYPED }, "What was really said (type it)"),
      el("option", { value: NOBODY }, "Nothing: plain texts"),
    );
    if ([...this.reference.options].some((option) => option.value === before)) this.reference.value = before;
  }

  open(file, sample) {
    this.file = file;
    this.turn += 1;
    // The browser draws first: on a machine that is also the server, that would slow the first model down.
    this.isDrawn = Promise.race([this.player.open(file), new Promise((resolve) => setTimeout(resolve, DRAWING_MS))]);
    this.typed.value = sample?.text ?? "";
    if (sample?.text) this.reference.value = TYPED;
    else if (this.reference.value === TYPED) this.reference.selectedIndex = 0;
    this.columns.hidden = false;
    this.referenceSection.hidden = false;
    for (const run of this.runs) run.reset();
    this.#startAll([...this.runs]);
  }

  /** One after the other: side by side they would slow each other down, and the times would say nothing. */
  #startAll(runs) {
    const { turn } = this;
    for (const run of runs) run.reset();
    const before = this.queue ?? Promise.resolve();
    this.queue = before.then(async () => {
      await this.isDrawn;
      for (const run of runs) {
        if (turn !== this.turn || !this.runs.includes(run)) continue;
        await run.start(this.file, () => this.#startAll([run]));
        if (run.done) this.status.textContent = `${run.model.id} has finished.`;
        this.showAll();
      }
    });
    this.showAll();
  }

  showAll() {
    const { value } = this.reference;
    this.typedField.hidden = value !== TYPED;
    this.legend.hidden = value === NOBODY || (value === TYPED && !this.typed.value.trim());
    const reference = this.#referenceText(value);
    for (const run of this.runs) run.show(reference);
  }

  #referenceText(value) {
    if (value === TYPED) return this.typed.value.trim() ? { text: this.typed.value } : null;
    const run = this.runs.find((one) => `model:${one.model.id}` === value);
    return run?.done ? { run, text: run.done.text } : null;
  }
}

async function start() {
  const page = document.getElementById("compare");
  page.replaceChildren(el("p", { class: "count", role: "status" }, "Looking for models…"));
  try {
    const models = (await listModels()).filter((model) => !model.pipeline_tag || model.pipeline_tag === SPEECH);
    models.sort((a, b) => Number(b.auricle?.default ?? 0) - Number(a.auricle?.default ?? 0));
    page.replaceChildren(new Comparison(models).element);
  } catch (error) {
    const { title, detail } = explain(error);
    page.replaceChildren(notice("bad", `${title}. ${detail}`, el("button", { type: "button", class: "small", onclick: start }, "Try again")));
  }
}

start();
