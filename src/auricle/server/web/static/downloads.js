// The result as files. Subtitles are cut by the server, by the same rules as response_format; nothing is recognised again.

import { exportAs } from "./api.js";
import { el } from "./dom.js";
import { turnText } from "./speakers.js";
import { withWords } from "./words.js";

const KINDS = { txt: "text/plain", srt: "application/x-subrip", vtt: "text/vtt", json: "application/json" };

/** Hand a text to the browser as a file. */
function save(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function written(kind, result) {
  if (kind === "txt") return `${turnText(result)}\n`;
  const { type: _type, ...fields } = result;
  if (kind === "json") return `${JSON.stringify(fields, null, 2)}\n`;
  return exportAs(kind, { ...fields, segments: withWords(fields.segments ?? [], fields.words) });
}

/** Buttons for all kinds; `getResult()` gives { result, name }, `onError(error)` hears of failures. */
export function downloadButtons(getResult, onError) {
  async function download(kind) {
    const { result, name } = getResult();
    try {
      save(await written(kind, result), `${name.replace(/\.[^.]+$/, "")}.${kind}`, KINDS[kind]);
    } catch (error) {
      onError(error);
    }
  }
  const buttons = Object.keys(KINDS).map((kind) =>
    el("button", { type: "button", class: "small", "aria-label": `Download as ${kind}`, onclick: () => download(kind) }, kind),
  );
  return el("div", { class: "downloads", role: "group", "aria-label": "Download" }, el("span", { class: "label", "aria-hidden": "true" }, "Download"), buttons);
}
