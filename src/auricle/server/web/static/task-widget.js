// <auricle-task-widget>: any other task. A text, an image or a recording in; bars, a picture, sound or JSON out.

import { ROOT, call, idPath } from "./api.js";
import { showCode } from "./code.js";
import { el, field, icon, notice } from "./dom.js";
import { percent, taskName } from "./format.js";
import { Progress } from "./progress.js";
import { withPatience } from "./run.js";
import { SourcePicker } from "./source.js";
import { storedToken } from "./token.js";

const SERVER = ROOT.href.replace(/\/$/, "");
const quoted = JSON.stringify;
const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** What tasks take: a file of a kind, and texts by the names that the API has for them ("" is the whole input). */
const TAKES = {
  "audio-classification": { file: "audio" },
  "automatic-speech-recognition": { file: "audio" },
  "depth-estimation": { file: "image" },
  "document-question-answering": { file: "image", beside: "image", texts: { question: "Question" } },
  "feature-extraction": { texts: { "": "Text" } },
  "fill-mask": { texts: { "": "Text with a mask" } },
  "image-classification": { file: "image" },
  "image-feature-extraction": { file: "image" },
  "image-segmentation": { file: "image" },
  "image-text-to-text": { file: "image", beside: "images", texts: { text: "Text" } },
  "keypoint-detection": { file: "image" },
  "mask-generation": { file: "image" },
  "object-detection": { file: "image" },
  "question-answering": { texts: { question: "Question", context: "Text that has the answer" } },
  "zero-shot-audio-classification": { file: "audio", labels: true },
  "zero-shot-image-classification": { file: "image", labels: true },
  "zero-shot-object-detection": { file: "image", labels: true },
};

export const isOther = (task) => task in TAKES || ["summarization", "text-classification", "text-generation", "text-to-audio", "text2text-generation", "token-classification", "translation"].includes(task);

const toBase64 = (file) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });

class AuricleTaskWidget extends HTMLElement {
  connectedCallback() {
    if (this.work) return; // it was only moved
    this.model = this.getAttribute("model") ?? "";
    this.task = this.getAttribute("task") ?? "";
    this.takes = TAKES[this.task] ?? { texts: { "": "Text" } };
    this.file = null;
    this.abort = null;
    this.progress = new Progress(() => this.abort?.abort());
    this.content = el("div", { class: "task-result" });
    this.result = el("section", { class: "result", "aria-label": "Result", hidden: true }, el("h2", {}, taskName(this.task)), this.content);
    this.code = el("section", { class: "code", "aria-labelledby": "code-title" });
    this.work = el("div", { class: "work" }, this.progress.element, this.result);
    this.append(el("div", { class: "widget" }, this.#buildSource(), this.work, this.code));
    this.#showCode();
  }

  #buildSource() {
    this.note = el("div", { class: "source-note" });
    const parts = [];
    if (this.takes.file === "audio") {
      this.picker = new SourcePicker({ onFile: (file) => this.#take(file) });
      parts.push(this.picker.element);
    } else if (this.takes.file === "image") {
      parts.push(this.#buildImage());
    }
    this.fields = new Map(Object.entries(this.takes.texts ?? {}).map(([name, label]) => [name, this.#control(label, name === "" || name === "context")]));
    if (this.takes.labels) this.labels = this.#control("Labels, with commas between them", false);
    const controls = [...this.fields.values(), ...(this.labels ? [this.labels] : [])];
    const form = el("form", { class: "question" }, controls.map((one) => field(one.dataset.label, one)), el("button", { type: "submit", class: "primary" }, "Run"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    form.addEventListener("input", () => this.#showCode());
    return el("section", { class: "source", "aria-label": "Input" }, parts, controls.length ? form : null, this.note);
  }

  #control(label, isLong) {
    const control = el(isLong ? "textarea" : "input", { autocomplete: "off", ...(isLong ? { rows: 4 } : { type: "text" }) });
    control.dataset.label = label;
    return control;
  }

  #buildImage() {
    const input = el("input", { type: "file", accept: "image/*", hidden: true });
    input.addEventListener("change", () => {
      if (input.files[0]) this.#take(input.files[0]);
      input.value = ""; // so that the same file can be chosen again
    });
    this.picture = el("img", { class: "picture", alt: "", hidden: true });
    const choose = el("button", { type: "button", onclick: () => input.click() }, icon("file"), "Choose an image");
    return el("div", {}, el("div", { class: "source-row" }, choose, input), this.picture);
  }

  #take(file) {
    this.file = file;
    this.note.replaceChildren();
    if (this.picture) {
      if (this.picture.src) URL.revokeObjectURL(this.picture.src);
      this.picture.src = URL.createObjectURL(file);
      this.picture.alt = file.name || "The image";
      this.picture.hidden = false;
    }
    this.#showCode();
    if (!this.fields.size && !this.labels) this.#run();
  }

  get parameters() {
    const labels = this.labels?.value.split(",").map((one) => one.trim()).filter(Boolean) ?? [];
    return labels.length ? { candidate_labels: labels } : {};
  }

  get texts() {
    return Object.fromEntries([...this.fields].map(([name, control]) => [name, control.value]));
  }

  #missing() {
    if (this.takes.file && !this.file) return this.takes.file === "audio" ? "Choose a recording first." : "Choose an image first.";
    const empty = [...this.fields.values(), ...(this.labels ? [this.labels] : [])].find((control) => !control.value.trim());
    return empty ? `Fill in first: ${empty.dataset.label}.` : null;
  }

  async #request() {
    if (this.takes.file && !this.takes.beside) {
      const form = new FormData();
      form.append("file", this.file, this.file.name || "input");
      for (const [name, value] of Object.entries(this.parameters)) form.append(name, quoted(value));
      return { body: form };
    }
    const texts = this.texts;
    const inputs = this.takes.beside ? { ...texts, [this.takes.beside]: await toBase64(this.file) } : "" in texts ? texts[""] : texts;
    return { body: quoted({ inputs, parameters: this.parameters }), headers: { "Content-Type": "application/json" } };
  }

  async #run() {
    const missing = this.#missing();
    this.note.replaceChildren(...(missing ? [notice("bad", missing)] : []));
    if (missing) return;
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.progress.busy("Working…");
    this.setAttribute("aria-busy", "true");
    const began = performance.now();
    try {
      await this.#show(await withPatience(() => this.#ask(abort.signal), abort.signal, (wait) => this.progress.waiting(wait)));
      if (abort !== this.abort) return;
      this.progress.rest(`Done in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
      this.dispatchEvent(new CustomEvent("worked"));
    } catch (error) {
      if (abort !== this.abort) return;
      if (abort.signal.aborted) this.progress.rest("Cancelled.");
      else this.progress.fail(error, () => this.#run());
    } finally {
      if (abort === this.abort) this.removeAttribute("aria-busy");
    }
  }

  async #ask(signal) {
    return call(`models/${idPath(this.model)}`, { method: "POST", signal, ...(await this.#request()) });
  }

  async #show(response) {
    if (response.headers.get("content-type")?.startsWith("audio/")) {
      const source = URL.createObjectURL(await response.blob());
      this.content.replaceChildren(el("audio", { controls: true, src: source, "aria-label": "What was spoken" }));
    } else {
      this.content.replaceChildren(...shown(await response.json()));
    }
    this.result.hidden = false;
  }

  #showCode() {
    showCode(this.code, snippets({ model: this.model, file: this.takes.file ? this.file?.name || "input" : null, beside: this.takes.beside, texts: this.texts, parameters: this.parameters, hasToken: Boolean(storedToken()) }));
  }
}

/** What a result looks like: bars for what has scores, pictures for masks, the text of what was written, and JSON. */
function shown(result) {
  const flat = Array.isArray(result) && Array.isArray(result[0]) && result[0][0]?.label !== undefined ? result[0] : result;
  const rows = Array.isArray(flat) ? flat : [flat];
  const made = [];
  const name = (one) => one.label ?? one.token_str ?? one.word ?? one.answer;
  const scored = rows.filter((one) => one && name(one) !== undefined && typeof one.score === "number");
  if (scored.length) made.push(el("ol", { class: "bars", "aria-label": "Scores" }, scored.map((one) => bar(name(one), one.score))));
  const written = rows.map((one) => one?.generated_text ?? one?.text ?? (name(one ?? {}) !== undefined && typeof one.score !== "number" ? name(one) : undefined));
  for (const text of written) if (typeof text === "string") made.push(el("p", { class: "written" }, text));
  for (const one of rows) {
    const picture = one?.mask ?? one?.depth;
    if (typeof picture === "string") made.push(el("figure", {}, el("img", { class: "picture", src: blobUrl(picture), alt: `Mask of ${one.label ?? "the image"}` }), el("figcaption", {}, one.label ?? "")));
  }
  if (!made.length) made.push(el("pre", { class: "raw", tabindex: "0" }, JSON.stringify(result, null, 1).slice(0, 20000)));
  return made;
}

function blobUrl(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
}

function bar(name, score) {
  const value = String(Math.min(1, Math.max(0, score)));
  return el("li", { class: "bar" }, el("span", { class: "bar-name" }, name), el("span", { class: "bar-share" }, percent(score)), el("progress", { max: "1", value, "aria-label": name }));
}

/** [[name, source text]] for a request. */
function snippets({ model, file, beside, texts, parameters, hasToken }) {
  const url = `${SERVER}/models/${idPath(model)}`;
  const told = hasToken ? [`-H "Authorization: Bearer $AURICLE_TOKEN"`] : [];
  const headers = hasToken ? `\nheaders = {"Authorization": f"Bearer {os.environ['AURICLE_TOKEN']}"}` : "\nheaders = {}";
  const imports = `${hasToken ? "import os\n\n" : ""}import requests\n`;
  if (file !== null && !beside) {
    const fields = Object.entries(parameters).map(([name, value]) => `--form-string ${shell(`${name}=${quoted(value)}`)}`);
    const query = Object.entries(parameters).map(([name, value]) => `${quoted(name)}: ${quoted(quoted(value))}`).join(", ");
    return [
      ["curl", [`curl ${shell(url)}`, ...told, `-F ${shell(`file=@"${file.replaceAll('"', '\\"')}"`)}`, ...fields].join(" \\\n  ")],
      ["Python", `${imports}${headers}\nwith open(${quoted(file)}, "rb") as file:\n    answer = requests.post(${quoted(url)}, headers=headers, files={"file": file}, data={${query}})\nanswer.raise_for_status()\nprint(answer.json())`],
    ];
  }
  const whole = "" in texts ? texts[""] : beside ? { ...texts, [beside]: "BASE64" } : texts;
  const body = quoted({ inputs: whole, parameters });
  return [
    ["curl", [`curl ${shell(url)}`, ...told, "-H 'Content-Type: application/json'", `-d ${shell(body)}`].join(" \\\n  ")],
    ["Python", `${imports}${headers}\nanswer = requests.post(${quoted(url)}, headers=headers, json=${body})\nanswer.raise_for_status()\nprint(answer.content[:2000])`],
  ];
}

customElements.define("auricle-task-widget", AuricleTaskWidget);
