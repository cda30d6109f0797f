// <auricle-image-widget>: drop, paste or choose an image; labels, or answers to a question, with bars.

import { ROOT, call, idPath } from "./api.js";
import { showCode } from "./code.js";
import { el, field, icon, notice } from "./dom.js";
import { listenForFiles } from "./drops.js";
import { bytes, percent } from "./format.js";
import { Progress } from "./progress.js";
import { withPatience } from "./run.js";
import { storedToken } from "./token.js";

const SERVER = ROOT.href.replace(/\/$/, "");
const quoted = JSON.stringify;

class AuricleImageWidget extends HTMLElement {
  connectedCallback() {
    if (this.work) return; // it was only moved
    this.model = this.getAttribute("model") ?? "";
    this.asks = this.hasAttribute("asks");
    this.file = null;
    this.abort = null;
    this.#buildOptions();
    this.progress = new Progress(() => this.abort?.abort());
    this.list = el("ol", { class: "bars", "aria-label": this.asks ? "Answers" : "Labels" });
    this.result = el("section", { class: "result", "aria-label": "Result", hidden: true }, el("h2", {}, this.asks ? "Answers" : "Labels"), this.list);
    this.code = el("section", { class: "code", "aria-labelledby": "code-title" });
    this.work = el("div", { class: "work" }, this.progress.element, this.result);
    this.append(el("div", { class: "widget" }, this.#buildSource(), this.options, this.work, this.code));
    listenForFiles("Drop the image", (files) => this.#take(files));
    this.#showCode();
  }

  #buildOptions() {
    this.topK = el("input", { type: "number", min: "1", step: "1", value: "5", autocomplete: "off" });
    const form = el("form", { class: "options", "aria-label": "Options" }, field(this.asks ? "Answers at most" : "Labels at most", this.topK));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => {
      this.#showCode();
      if (this.file && !this.asks) this.#run();
    });
    const isWide = matchMedia("(min-width: 60.01rem)").matches; // as in widget.css
    this.options = el("details", { class: "side", open: isWide }, el("summary", {}, "Options"), form);
  }

  #buildSource() {
    this.input = el("input", { type: "file", accept: "image/*", hidden: true });
    this.input.addEventListener("change", () => {
      if (this.input.files[0]) this.#take(this.input.files);
      this.input.value = ""; // so that the same file can be chosen again
    });
    const choose = el("button", { type: "button", class: this.asks ? "" : "primary", onclick: () => this.input.click() }, icon("file"), "Choose an image");
    this.picture = el("img", { class: "picture", alt: "", hidden: true });
    this.note = el("div", { class: "source-note" });
    const row = el("div", { class: "source-row" }, choose, this.input, el("span", { class: "hint drop-hint" }, "or drop or paste one anywhere"));
    return el("section", { class: "source", "aria-label": "Choose an image" }, row, this.picture, this.asks ? this.#buildQuestion() : null, this.note);
  }

  #buildQuestion() {
    this.question = el("input", { type: "text", autocomplete: "off" });
    this.question.value = "What is in the image?";
    this.question.addEventListener("input", () => this.#showCode());
    const form = el("form", { class: "question" }, field("Question", this.question), el("button", { type: "submit", class: "primary" }, "Ask"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.file) this.#tell("Choose an image first.");
      else if (!this.question.value.trim()) this.#tell("Write a question first.");
      else this.#run();
    });
    return form;
  }

  #take(files) {
    const [file] = files;
    this.note.replaceChildren();
    if (!file?.size) {
      this.#tell(file ? `${file.name} is empty, or a folder; choose an image.` : "No file arrived; choose an image.");
      return;
    }
    if (this.file) URL.revokeObjectURL(this.picture.src);
    this.file = file;
    this.picture.src = URL.createObjectURL(file);
    this.picture.alt = file.name || "The image";
    this.picture.hidden = false;
    this.result.hidden = true;
    this.#showCode();
    if (this.asks) this.question.focus();
    else this.#run();
  }

  #tell(message) {
    this.note.replaceChildren(notice("bad", message));
  }

  get topMost() {
    return Number.isFinite(this.topK.valueAsNumber) ? this.topK.valueAsNumber : 5;
  }

  async #run() {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.note.replaceChildren();
    this.progress.busy(`Sending ${bytes(this.file.size)}…`);
    this.setAttribute("aria-busy", "true");
    const began = performance.now();
    try {
      const found = await withPatience(() => this.#ask(abort.signal), abort.signal, (wait) => this.progress.waiting(wait));
      if (abort !== this.abort) return;
      this.#show(found);
      this.progress.rest(`Seen in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
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
    const form = new FormData();
    form.append("file", this.file, this.file.name || "image");
    if (this.asks) form.append("question", this.question.value.trim());
    form.append("top_k", String(this.topMost));
    return (await call(`models/${idPath(this.model)}`, { method: "POST", body: form, signal })).json();
  }

  #show(found) {
    const rows = found.map((one) => {
      const name = one.label ?? one.answer;
      const share = Math.min(1, Math.max(0, one.score));
      return el(
        "li",
        { class: "bar" },
        el("span", { class: "bar-name" }, name),
        el("span", { class: "bar-share" }, percent(one.score)),
        el("progress", { max: "1", value: String(share), "aria-label": name }),
      );
    });
    this.list.replaceChildren(...rows);
    this.result.hidden = false;
  }

  #showCode() {
    const file = this.file?.name || "image.jpg";
    const question = this.asks ? this.question.value : null;
    showCode(this.code, snippets({ model: this.model, file, question, topK: this.topMost, hasToken: Boolean(storedToken()) }));
  }
}

/** [[name, source text]] for a request. */
function snippets({ model, file, question, topK, hasToken }) {
  const url = `${SERVER}/models/${idPath(model)}`;
  const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const fields = [...(question === null ? [] : [["question", question]]), ["top_k", String(topK)]];
  const curl = [
    `curl ${shell(url)}`,
    ...(hasToken ? [`-H "Authorization: Bearer $AURICLE_TOKEN"`] : []),
    `-F ${shell(`file=@"${file.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`)}`,
    ...fields.map(([name, value]) => `--form-string ${shell(`${name}=${value}`)}`),
  ].join(" \\\n  ");
  const token = hasToken ? `, token=os.environ["AURICLE_TOKEN"]` : "";
  const imports = hasToken ? "import os\n\n" : "";
  const method = question === null ? "image_classification" : "visual_question_answering";
  const asked = question === null ? "" : `, ${quoted(question)}`;
  const hub = `${imports}from huggingface_hub import InferenceClient

client = InferenceClient(${quoted(url)}${token})
for one in client.${method}(${quoted(file)}${asked}, top_k=${topK}):
    print(one.${question === null ? "label" : "answer"}, one.score)`;
  const headers = hasToken ? "\n  headers: { Authorization: `Bearer ${process.env.AURICLE_TOKEN}` }," : "";
  const javascript = `import { readFile } from "node:fs/promises";

const form = new FormData();
form.append("file", new Blob([await readFile(${quoted(file)})]), ${quoted(file)});
${fields.map(([name, value]) => `form.append(${quoted(name)}, ${quoted(value)});`).join("\n")}

const response = await fetch(${quoted(url)}, {
  method: "POST",${headers}
  body: form,
});
if (!response.ok) throw new Error(await response.text());
console.log(await response.json());`;
  return [
    ["curl", curl],
    ["huggingface_hub", hub],
    ["JavaScript", javascript],
  ];
}

customElements.define("auricle-image-widget", AuricleImageWidget);
