// The leaderboard: one sortable table of all results, by data set.

import { address, idPath, readLeaderboard } from "./api.js";
import { el, field, icon } from "./dom.js";
import { explain } from "./errors.js";
import { percent } from "./format.js";

// Which way a column is sorted first: small error rates and large speeds are good.
const COLUMNS = [
  { key: "model", label: "Model", first: "ascending", isHead: true },
  { key: "wer", label: "Word errors", first: "ascending", isNumber: true, show: rate, low: "wer_low", high: "wer_high" },
  { key: "cer", label: "Character errors", first: "ascending", isNumber: true, show: rate },
  { key: "rtfx", label: "Speed", first: "descending", isNumber: true, show: (value) => `${trimmed(value)} ×` },
  { key: "dataset", label: "Data set", first: "ascending" },
  { key: "n_utterances", label: "Utterances", first: "descending", isNumber: true, show: (n) => n.toLocaleString("en") },
  { key: "hardware", label: "Hardware", first: "ascending" },
  { key: "date", label: "Date", first: "descending" },
];

const page = document.getElementById("leaderboard");
const frame = el("div", { class: "table-frame", role: "region", "aria-label": "Results", tabindex: "0" });
const count = el("p", { class: "count", role: "status" });
let rows = [];
let sorting = { key: "wer", direction: "ascending" };
let dataset = "";

function rate(value) {
  return percent(value);
}

function trimmed(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

/** Sort rows by a column; rows without a value come last whichever way, and equal ones keep their order. */
export function sorted(all, { key, direction }) {
  const sign = direction === "ascending" ? 1 : -1;
  const missing = (row) => row[key] === null || row[key] === undefined;
  const compare = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  return [...all].sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(a[key], b[key])));
}

function heading(column) {
  const isCurrent = sorting.key === column.key;
  return el(
    "th",
    { scope: "col", class: column.isNumber ? "number" : null, "aria-sort": isCurrent ? sorting.direction : null },
    el("button", { type: "button", "data-key": column.key, onclick: () => sortBy(column) }, column.label),
  );
}

function sortBy(column) {
  const other = { ascending: "descending", descending: "ascending" };
  const direction = sorting.key === column.key ? other[sorting.direction] : column.first;
  sorting = { key: column.key, direction };
  draw();
  frame.querySelector(`[data-key="${column.key}"]`).focus();
}

function cell(column, row, worst) {
  const value = row[column.key];
  const text = value === null || value === undefined ? "—" : column.show ? column.show(value) : String(value);
  if (column.isHead) {
    return el("th", { scope: "row" }, el("a", { href: address(`models/${idPath(row.model)}`).href }, text));
  }
  const parts = [text];
  if (column.low && Number.isFinite(row[column.low]) && Number.isFinite(row[column.high])) {
    parts.push(el("span", { class: "range" }, `${percent(row[column.low])} to ${percent(row[column.high])}`));
  }
  if (column.key === "wer") {
    const bar = el("span", {});
    bar.style.width = `${Math.min(100, (value / worst) * 100)}%`;
    parts.push(el("span", { class: "bar", "aria-hidden": "true" }, bar));
  }
  return el("td", { class: column.isNumber ? "number" : column.key === "date" ? "date" : null }, parts);
}

function draw() {
  const shown = rows.filter((row) => !dataset || row.dataset === dataset);
  const columns = COLUMNS.filter(({ key }) => shown.some((row) => row[key] !== null && row[key] !== undefined));
  const worst = Math.max(...shown.map((row) => row.wer), Number.EPSILON);
  const body = sorted(shown, sorting).map((row) => el("tr", {}, columns.map((column) => cell(column, row, worst))));
  const caption = el("caption", { class: "sr-only" }, "Error rates and speed of models; press a heading to sort");
  frame.replaceChildren(
    el("table", { class: "board" }, caption, el("thead", {}, el("tr", {}, columns.map(heading))), el("tbody", {}, body)),
  );
  count.textContent = `${shown.length} result${shown.length === 1 ? "" : "s"}`;
}

function filter(datasets) {
  const options = datasets.map((name) => el("option", { value: name }, name));
  const select = el("select", {}, el("option", { value: "" }, "All data sets"), options);
  select.addEventListener("change", () => {
    dataset = select.value;
    draw();
  });
  return el("div", { class: "filters" }, field("Data set", select));
}

function warningList(warnings) {
  const told = warnings.map(({ file, message }) => el("li", {}, file ? el("code", {}, file) : null, file ? `: ${message}` : message));
  return el(
    "div",
    { class: "notice warn" },
    icon("warn"),
    el("div", {}, el("p", {}, "Some results files were left out:"), el("ul", {}, told)),
  );
}

function empty(isConfigured) {
  return el(
    "div",
    { class: "empty" },
    el("h2", {}, "No results yet"),
    el("p", {}, isConfigured ? "The folder of results has no results file. Make one:" : "Evaluate a model, and tell the server where the results are:"),
    el(
      "pre",
      { class: "command", tabindex: "0" },
      "auricle evaluate --model MODEL --data DATASET --out results/\nAURICLE_LEADERBOARD_DIR=results auricle serve",
    ),
  );
}

function failed(error) {
  const { title, detail } = explain(error);
  const again = el("button", { type: "button", onclick: load }, "Try again");
  page.replaceChildren(el("div", { class: "empty", role: "alert" }, el("h2", {}, title), el("p", {}, detail), again));
}

async function load() {
  page.replaceChildren(el("p", { class: "count", role: "status" }, "Looking for results…"));
  let board;
  try {
    board = await readLeaderboard();
  } catch (error) {
    failed(error);
    return;
  }
  rows = board.rows;
  const parts = rows.length ? [filter(board.datasets), count, frame] : [empty(board.configured)];
  if (board.warnings.length) parts.push(warningList(board.warnings));
  page.replaceChildren(el("div", { class: "stack" }, parts));
  if (rows.length) draw();
}

load();
