// A model's page: what is known of it, and the widget.

import { ROOT, describeModel } from "./api.js";
import { el } from "./dom.js";
import { bytes, languageName, stateName, taskName } from "./format.js";
import "./widget.js";

const POLL_MS = 4000;
const SHOWN_LANGUAGES = 6;

const facts = document.getElementById("model-facts");
const id = decodeURIComponent(location.pathname.slice(new URL("models/", ROOT).pathname.length)).replace(/\/+$/, "");

function fact(name, ...value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
}

function showFacts(model) {
  const about = model.auricle ?? {};
  const names = (about.languages ?? []).map(languageName);
  const more = names.length - SHOWN_LANGUAGES;
  const listed = names.slice(0, SHOWN_LANGUAGES).join(", ") + (more > 0 ? ` and ${more} more` : "");
  const licence = model.cardData?.license;
  const shown = [
    fact("State", el("span", { class: `state state-${about.state}` }, stateName(about))),
    model.pipeline_tag ? fact("Task", taskName(model.pipeline_tag)) : null,
    names.length ? fact(names.length === 1 ? "Language" : "Languages", listed) : null,
    about.model_type ? fact("Family", about.model_type) : null,
    about.size ? fact("Size", bytes(about.size)) : null,
    typeof licence === "string" ? fact("Licence", licence) : null,
    model.sha ? fact("Revision", el("code", { title: model.sha }, model.sha.slice(0, 8))) : null,
  ];
  facts.replaceChildren(...shown.filter(Boolean));
  document.getElementById("model-summary").textContent = about.summary ?? "";
}

/** Look again at intervals while the model loads; what else changes its state is done from this page. */
async function follow() {
  const model = await describeModel(id).catch(() => null); // the next look may find the server again
  if (model) showFacts(model);
  if (!model || model.auricle?.state === "loading") setTimeout(follow, POLL_MS);
}

/** The widget of a model's task; without one, that of speech says what there is. */
async function widgetOf(model) {
  const others = await import("./task-widget.js");
  if (model && (model.auricle?.bridged || model.pipeline_tag === "audio-classification") && others.isOther(model.pipeline_tag)) {
    return el("auricle-task-widget", { model: id, task: model.pipeline_tag });
  }
  if (model?.pipeline_tag === "text-generation") {
    await import("./text-widget.js");
    return el("auricle-text-widget", { model: id, chats: model.tags.includes("conversational") });
  }
  if (["image-classification", "visual-question-answering"].includes(model?.pipeline_tag)) {
    await import("./image-widget.js");
    return el("auricle-image-widget", { model: id, asks: model.pipeline_tag !== "image-classification" });
  }
  return el("auricle-widget", { model: id });
}

async function start() {
  document.title = `${id} · auricle`;
  document.getElementById("model-name").textContent = id;
  const model = await describeModel(id).catch(() => null); // the widget of speech tells why
  if (model) showFacts(model);
  const widget = await widgetOf(model);
  widget.addEventListener("described", ({ detail: model }) => {
    showFacts(model);
    if (model.auricle?.state === "loading") setTimeout(follow, POLL_MS);
  });
  for (const done of ["transcribed", "worked"]) widget.addEventListener(done, follow);
  document.getElementById("model-widget").replaceChildren(widget);
}

start();
