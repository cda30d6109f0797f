// Tabs by the pattern of the ARIA practices: arrows choose, Tab goes on to the panel.

import { el, uniqueId } from "./dom.js";

/** `entries`: [[label, panel element]]. */
export function tabs(label, entries) {
  const list = el("div", { class: "tabs", role: "tablist", "aria-label": label });
  const all = entries.map(([name, panel]) => {
    const id = uniqueId("tab");
    const tab = el("button", { type: "button", class: "tab", role: "tab", id, "aria-controls": `${id}-panel` }, name);
    tab.addEventListener("click", () => choose(tab));
    return { tab, panel: el("div", { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id, class: "tab-panel" }, panel) };
  });

  function choose(chosen) {
    for (const { tab, panel } of all) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      panel.hidden = !isChosen;
    }
  }

  list.addEventListener("keydown", (event) => {
    const at = all.findIndex(({ tab }) => tab === event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const { tab } = all[(to + all.length) % all.length];
    choose(tab);
    tab.focus();
  });
  list.append(...all.map(({ tab }) => tab));
  choose(all[0].tab);
  return el("div", {}, list, all.map(({ panel }) => panel));
}
