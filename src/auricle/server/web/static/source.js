// Where a recording comes from: the microphone, a file that is chosen, dropped or pasted, or a sample.

import { fetchSample, listSamples } from "./api.js";
import { el, icon, notice } from "./dom.js";
import { listenForFiles } from "./drops.js";
import { explain } from "./errors.js";
import { clock } from "./format.js";
import { LiveCaptions } from "./live.js";
import { Recorder, explainMicrophone, whyNoMicrophone } from "./recorder.js";

const METER_BARS = 24;

export class SourcePicker {
  /**
   * `onFile(file, sample)` is called with each recording, and with what is known of it if it is a sample. `live()`, if given, returns { model, language } for captions while
   * the microphone runs, or null.
   */
  constructor({ onFile, live = null }) {
    this.onFile = onFile;
    this.live = live;
    this.recorder = null;
    this.note = el("div", { class: "source-note" });
    this.#buildRecord();
    this.#buildFile();
    this.samples = el("div", { class: "samples", role: "group", "aria-label": "Samples", hidden: true });
    this.element = el(
      "section",
      { class: "source", "aria-label": "Choose a recording" },
      el("div", { class: "source-row" }, this.recordButton, this.fileButton, this.fileInput, this.dropHint, this.captionsBox),
      this.meterLine,
      this.captions,
      this.samples,
      this.note,
    );
    listenForFiles("Drop it to have it written down", (files) => this.#take(files));
    this.#loadSamples();
  }

  #buildRecord() {
    this.recordLabel = el("span", {}, "Record");
    this.recordButton = el("button", { type: "button", class: "primary record", onclick: () => this.#toggle() }, icon("mic"), this.recordLabel);
    this.meter = el("span", { class: "meter", "aria-hidden": "true" }, Array.from({ length: METER_BARS }, () => el("span")));
    this.elapsed = el("span", { class: "elapsed", role: "timer", "aria-label": "Recording time" }, "0:00");
    this.meterLine = el("div", { class: "meter-line", hidden: true }, el("span", { class: "rec-dot", "aria-hidden": "true" }), this.elapsed, this.meter);
    this.captions = el("div", { class: "captions", role: "group", "aria-label": "Captions", hidden: true });
    this.captionsCheck = el("input", { type: "checkbox" });
    this.captionsBox = this.live ? el("label", { class: "check" }, this.captionsCheck, "Live captions while recording") : null;
  }

  #buildFile() {
    this.fileInput = el("input", { type: "file", accept: "audio/*,video/*,.flac,.opus,.amr,.aiff,.caf,.mka", hidden: true });
    this.fileInput.addEventListener("change", () => {
      if (this.fileInput.files[0]) this.#take(this.fileInput.files);
      this.fileInput.value = ""; // so that the same file can be chosen again
    });
    this.fileButton = el("button", { type: "button", onclick: () => this.fileInput.click() }, icon("file"), "Choose a file");
    this.dropHint = el("span", { class: "hint drop-hint" }, "or drop one anywhere");
  }

  async #loadSamples() {
    const samples = await listSamples().catch(() => []); // without samples there is still everything else
    if (!samples.length) return;
    const buttons = samples.map((sample) =>
      el("button", { type: "button", class: "small sample", title: `${sample.origin}; ${sample.licence}`, onclick: () => this.#openSample(sample) }, sample.title, el("span", { class: "hint" }, `${Math.round(sample.duration)} s`)),
    );
    this.samples.append(el("span", { class: "label" }, "Samples"), ...buttons);
    this.samples.hidden = false;
  }

  async #openSample(sample) {
    try {
      this.#give(await fetchSample(sample), sample);
    } catch (error) {
      const { title, detail } = explain(error);
      this.#tell("bad", `${title}. ${detail}`);
    }
  }

  #take(files) {
    if (this.recorder) {
      this.#tell("warn", "Stop the recording first, then choose a file.");
      return;
    }
    const [file] = files;
    if (!file?.size) {
      this.#tell("bad", file ? `${file.name} is empty, or a folder; choose a recording.` : "No file arrived; choose a recording.");
      return;
    }
    this.#give(file);
    if (files.length > 1) this.#tell("warn", `${files.length} files arrived; this is the first of them, ${file.name}.`);
  }

  #give(file, sample = null) {
    this.note.replaceChildren();
    this.captions.hidden = true;
    this.onFile(file, sample);
  }

  #tell(kind, message) {
    this.note.replaceChildren(notice(kind, message));
  }

  async #toggle() {
    if (this.recorder) await this.#stop();
    else await this.#start();
  }

  async #start() {
    this.note.replaceChildren();
    const why = whyNoMicrophone();
    if (why) return this.#tell("warn", why);
    this.recordButton.disabled = true; // until the browser has asked
    try {
      this.recorder = await Recorder.start();
    } catch (error) {
      return this.#tell("bad", explainMicrophone(error));
    } finally {
      this.recordButton.disabled = false;
    }
    this.#showRecording(true);
    this.#frame();
    if (this.live && this.captionsCheck.checked) await this.#startCaptions();
    return undefined;
  }

  async #startCaptions() {
    const { model, language } = this.live();
    this.captions.replaceChildren();
    this.captions.hidden = false;
    const { recorder } = this;
    const live = new LiveCaptions({
      model,
      language,
      sampleRate: recorder.context.sampleRate,
      onText: (final, pending) => this.captions.replaceChildren(final, el("span", { class: "pending" }, pending)),
      onFailure: (message) => this.#tell("warn", `No live captions: ${message}. The recording goes on.`),
    });
    this.captioner = live;
    await recorder.listen((samples) => live.send(samples));
  }

  async #stop() {
    const { recorder, captioner } = this;
    this.recorder = null;
    this.captioner = null;
    this.recordButton.disabled = true;
    const file = await recorder.stop();
    this.#showRecording(false);
    this.recordButton.disabled = false;
    captioner?.end();
    this.#give(file);
  }

  #showRecording(isOn) {
    this.recordLabel.textContent = isOn ? "Stop" : "Record";
    this.recordButton.firstChild.replaceWith(icon(isOn ? "stop" : "mic"));
    this.recordButton.classList.toggle("is-on", isOn);
    this.meterLine.hidden = !isOn;
    this.captionsCheck.disabled = isOn;
    for (const button of [this.fileButton, ...this.samples.querySelectorAll("button")]) button.disabled = isOn;
  }

  #frame() {
    if (!this.recorder) return;
    const level = this.recorder.level();
    [...this.meter.children].forEach((bar, i) => bar.classList.toggle("is-lit", i < level * METER_BARS));
    const time = clock(this.recorder.seconds);
    if (this.elapsed.textContent !== time) this.elapsed.textContent = time;
    requestAnimationFrame(() => this.#frame());
  }
}
