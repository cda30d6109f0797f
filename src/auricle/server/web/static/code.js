// The same request in several languages, in tabs, each with a button that copies it.

import { copyButton } from "./clipboard.js";
import { el } from "./dom.js";
import { tabs } from "./tabs.js";

/** Show [[name, source text]] in a section whose heading has the id "code-title"; the tab that was chosen stays. */
export function showCode(section, entries) {
  const panels = entries.map(([name, text]) => [
    name,
    el("div", { class: "snippet" }, el("pre", { tabindex: "0", role: "group", "aria-label": `${name} source` }, el("code", {}, text)), copyButton("Copy", () => text)),
  ]);
  const chosen = section.querySelector('[aria-selected="true"]')?.textContent;
  const strip = tabs("Language of the request", panels);
  section.replaceChildren(
    el("h2", { id: "code-title" }, "The same by program"),
    el("p", { class: "hint" }, "What this page asks the server, with this server's address, the model and the options above."),
    strip,
  );
  [...strip.querySelectorAll('[role="tab"]')].find((tab) => tab.textContent === chosen)?.click();
}
