// The reference of the API, out of openapi.json: what FastAPI's own page shows, without scripts from elsewhere.

import { getJson } from "./api.js";
import { el, field, notice } from "./dom.js";
import { explain } from "./errors.js";

const METHODS = ["get", "post", "put", "patch", "delete"];

/** Follow a reference within the document. */
function resolved(schema, whole) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.slice(2).split("/").reduce((part, key) => part?.[key], whole) ?? {};
}

/** A schema in few words: "string", "number or null", "list of object", "one of "a", "b"". */
function kindOf(schema, whole) {
  const { type, enum: values, const: value, anyOf, oneOf, items } = resolved(schema, whole);
  if (values) return `one of ${values.map((one) => JSON.stringify(one)).join(", ")}`;
  if (value !== undefined) return JSON.stringify(value);
  const kinds = anyOf ?? oneOf;
  if (kinds) return [...new Set(kinds.map((kind) => kindOf(kind, whole)))].join(" or ");
  if (type === "array") return items ? `list of ${kindOf(items, whole)}` : "list";
  return Array.isArray(type) ? type.join(" or ") : (type ?? "anything");
}

function row(name, place, schema, description, isRequired, whole) {
  const known = resolved(schema, whole);
  const told = [description ?? known.description, known.default === undefined || known.default === null ? null : `Default: ${JSON.stringify(known.default)}.`];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("code", {}, name), isRequired ? el("span", { class: "tag" }, "required") : null),
    el("td", {}, [place, kindOf(schema, whole)].filter(Boolean).join(", ")),
    el("td", {}, told.filter(Boolean).join(" ")),
  );
}

function table(title, rows) {
  if (!rows.length) return null;
  const head = ["Name", "Kind", "Meaning"].map((name) => el("th", { scope: "col" }, name));
  return el(
    "div",
    { class: "table-frame", role: "region", "aria-label": title, tabindex: "0" },
    el("table", { class: "board reference" }, el("caption", {}, title), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)),
  );
}

function bodyOf(operation, whole) {
  const content = resolved(operation.requestBody, whole).content ?? {};
  const kinds = Object.keys(content);
  if (!kinds.length) return [];
  const tables = kinds.map((kind) => {
    const schema = resolved(content[kind].schema, whole);
    const required = schema.required ?? [];
    const rows = Object.entries(schema.properties ?? {}).map(([name, one]) => row(name, "", one, one.description, required.includes(name), whole));
    return table(`Body as ${kind}`, rows);
  });
  return [el("p", {}, "Body: ", kinds.flatMap((kind, i) => [i ? ", " : "", el("code", {}, kind)])), ...tables];
}

function answersOf(operation) {
  const answers = Object.entries(operation.responses ?? {});
  const rows = answers.map(([status, { description }]) => el("li", {}, el("code", {}, status), ` ${description ?? ""}`));
  return el("div", {}, el("h3", {}, "Answers"), el("ul", { class: "answers" }, rows));
}

function operationOf(path, method, operation, whole) {
  const parameters = (operation.parameters ?? []).map((one) => resolved(one, whole));
  const rows = parameters.map((one) => row(one.name, one.in, one.schema, one.description, one.required, whole));
  const [first, ...rest] = (operation.description ?? operation.summary ?? "").split(/\n\s*\n/);
  return el(
    "details",
    { class: "operation", "data-words": `${method} ${path} ${operation.description ?? ""}`.toLowerCase() },
    el("summary", {}, el("span", { class: `method method-${method}` }, method.toUpperCase()), el("code", { class: "path" }, path), el("span", { class: "hint" }, first)),
    el("div", { class: "stack operation-body" }, rest.map((text) => el("p", {}, text)), table("Parameters", rows), bodyOf(operation, whole), answersOf(operation)),
  );
}

function groups(whole) {
  const found = new Map();
  for (const [path, item] of Object.entries(whole.paths)) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = item[method].tags?.[0] ?? "Other";
      if (!found.has(tag)) found.set(tag, []);
      found.get(tag).push(operationOf(path, method, item[method], whole));
    }
  }
  return [...found].map(([tag, operations]) => el("section", { class: "group" }, el("h2", {}, tag), operations));
}

function finder(sections, count) {
  const input = el("input", { type: "search", autocomplete: "off", spellcheck: "false" });
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    let found = 0;
    for (const section of sections) {
      const fitting = [...section.querySelectorAll(".operation")].filter((one) => {
        one.hidden = !words.every((word) => one.dataset.words.includes(word));
        return !one.hidden;
      });
      section.hidden = !fitting.length;
      found += fitting.length;
    }
    count.textContent = `${found} route${found === 1 ? "" : "s"}`;
  };
  input.addEventListener("input", show);
  show();
  return el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, field("Find a route", input));
}

async function start() {
  const page = document.getElementById("docs");
  page.replaceChildren(el("p", { class: "count", role: "status" }, "Reading the routes…"));
  try {
    const sections = groups(await getJson("openapi.json"));
    const count = el("p", { class: "count", role: "status" });
    page.replaceChildren(finder(sections, count), count, ...sections);
  } catch (error) {
    const { title, detail } = explain(error);
    page.replaceChildren(notice("bad", `${title}. ${detail}`, el("button", { type: "button", class: "small", onclick: start }, "Try again")));
  }
}

start();
