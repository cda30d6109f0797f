// Copying: by the clipboard of secure pages, else by the old command, for servers reached by plain http.

import { el, icon } from "./dom.js";

const TOLD_MS = 2000;

async function write(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = el("textarea", { class: "sr-only", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  if (!isCopied) throw new Error("this browser does not let a page copy");
}

/** A button that copies what `getText()` returns at the time, and says so. */
export function copyButton(label, getText) {
  const text = el("span", {}, label);
  const said = el("span", { class: "sr-only", role: "status" });
  const button = el("button", { type: "button", class: "small", onclick: copy }, icon("copy"), text);
  let timer = 0;

  async function copy() {
    let told = "Copied";
    try {
      await write(getText());
    } catch {
      told = "Select the text to copy it";
    }
    text.textContent = told;
    said.textContent = told;
    clearTimeout(timer);
    timer = setTimeout(() => {
      text.textContent = label;
      said.textContent = "";
    }, TOLD_MS);
  }

  return el("span", { class: "copy" }, button, said);
}
