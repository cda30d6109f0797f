// The catalogue: all models of this server, found by words, task and language.

import { idPath, address, listModels } from "./api.js";
import { el, icon } from "./dom.js";
import { explain } from "./errors.js";
import { bytes, languageName, stateName, taskName } from "./format.js";

const POLL_MS = 4000; // while a model is loading
const SHOWN_LANGUAGES = 3;

const search = document.getElementById("search");
const task = document.getElementById("task");
const language = document.getElementById("language");
const count = document.getElementById("count");
const list = document.getElementById("catalogue");
const note = document.getElementById("catalogue-note");
let models = [];

function fill(select, values, named) {
  const first = select.options[0];
  const options = [...values].map((value) => el("option", { value }, named(value)));
  options.sort((a, b) => a.textContent.localeCompare(b.textContent));
  select.replaceChildren(first, ...options);
}

function languagesOf(model) {
  return model.auricle?.languages ?? [];
}

function wordsOf(model) {
  const about = model.auricle ?? {};
  const parts = [model.id, about.summary, about.model_type, model.pipeline_tag && taskName(model.pipeline_tag), ...(model.tags ?? [])];
  return [...parts, ...languagesOf(model).flatMap((code) => [code, languageName(code)])].join(" ").toLowerCase();
}

function matches(model) {
  if (task.value && model.pipeline_tag !== task.value) return false;
  if (language.value && !languagesOf(model).includes(language.value)) return false;
  const text = wordsOf(model);
  return search.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function languageTags(model) {
  const names = languagesOf(model).map(languageName);
  const tags = names.slice(0, SHOWN_LANGUAGES).map((name) => el("span", { class: "tag" }, name));
  if (names.length > SHOWN_LANGUAGES) {
    tags.push(el("span", { class: "tag", title: names.join(", ") }, `${names.length - SHOWN_LANGUAGES} more`));
  }
  return tags;
}

function described(model) {
  if (!model.pipeline_tag) return "What it does is known once it has been fetched";
  return [taskName(model.pipeline_tag), model.auricle?.summary].filter(Boolean).join(" · ");
}

function entry(model) {
  const about = model.auricle ?? {};
  const [org, name] = model.id.includes("/") ? model.id.split(/\/(.*)/s) : [null, model.id];
  return el(
    "li",
    {},
    el(
      "a",
      { class: "entry", href: address(`models/${idPath(model.id)}`).href },
      el(
        "span",
        { class: "entry-main" },
        el(
          "span",
          { class: "entry-name" },
          el("span", {}, org ? el("span", { class: "org" }, `${org}/`) : null, name),
          about.default ? el("span", { class: "tag" }, "default") : null,
        ),
        el("span", { class: "entry-summary" }, described(model)),
      ),
      el("span", { class: "entry-langs" }, languageTags(model)),
      el("span", { class: "entry-size" }, bytes(about.size)),
      el("span", { class: `state state-${about.state}` }, stateName(about)),
      el("span", { class: "entry-arrow" }, icon("arrow")),
    ),
  );
}

function show() {
  const found = models.filter(matches);
  count.textContent = found.length === models.length ? countOf(models.length) : `${found.length} of ${countOf(models.length)}`;
  list.replaceChildren(...found.map(entry));
  list.hidden = !found.length;
  note.replaceChildren(...(found.length ? [] : [models.length ? nothingFound() : nothingServed()]));
}

function countOf(n) {
  return `${n} model${n === 1 ? "" : "s"}`;
}

function nothingFound() {
  const clear = el("button", { type: "button", onclick: reset }, "Show all models");
  return el("div", { class: "empty" }, el("h2", {}, "No model fits"), el("p", {}, "Try fewer words, or another language."), clear);
}

function nothingServed() {
  return el(
    "div",
    { class: "empty" },
    el("h2", {}, "This server has no models yet"),
    el("p", {}, "Name one when you start it; its Hub name or its folder will do."),
    el("pre", { class: "command" }, "auricle serve --model openai/whisper-tiny"),
  );
}

function reset() {
  document.getElementById("filters").reset();
  show();
  search.focus();
}

function failed(error) {
  const { title, detail } = explain(error);
  const again = el("button", { type: "button", onclick: () => load().then(() => search.focus()) }, "Try again");
  count.textContent = "";
  list.hidden = true;
  note.replaceChildren(el("div", { class: "empty", role: "alert" }, el("h2", {}, title), el("p", {}, detail), again));
}

async function load() {
  count.textContent = "Looking for models…";
  try {
    models = await listModels();
  } catch (error) {
    failed(error);
    return;
  }
  models.sort((a, b) => Number(b.auricle?.default ?? 0) - Number(a.auricle?.default ?? 0) || a.id.localeCompare(b.id));
  const chosen = [task.value, language.value];
  fill(task, new Set(models.map((model) => model.pipeline_tag).filter(Boolean)), taskName);
  fill(language, new Set(models.flatMap(languagesOf)), languageName);
  [task.value, language.value] = chosen;
  show();
  setTimeout(poll, POLL_MS);
}

/** Follow models that are loading; the list is only drawn anew when a state changed, so focus stays. */
async function poll() {
  const states = () => models.map((model) => model.auricle?.state).join();
  if (document.visibilityState === "visible" && models.some((model) => model.auricle?.state === "loading")) {
    const fresh = await listModels().catch(() => []);
    const before = states();
    const state = new Map(fresh.map((model) => [model.id, model.auricle?.state]));
    for (const model of models) if (state.has(model.id)) model.auricle.state = state.get(model.id);
    if (before !== states()) show();
  }
  setTimeout(poll, POLL_MS);
}

search.addEventListener("input", show);
task.addEventListener("change", show);
language.addEventListener("change", show);
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
load();
