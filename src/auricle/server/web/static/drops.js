// Files that are dropped anywhere on the page, or pasted.

import { el } from "./dom.js";

/** Call `take(files)` with what is dropped or pasted; `text` stands over the page while files are dragged above it. */
export function listenForFiles(text, take) {
  const veil = el("div", { class: "veil", hidden: true, "aria-hidden": "true" }, el("p", {}, text));
  document.body.append(veil);
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}
