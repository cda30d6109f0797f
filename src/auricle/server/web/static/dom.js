// Elements without HTML strings: whatever comes from the server is only ever text.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = new URL("icons.svg", import.meta.url);

/** Make an element: properties by name ("class", "on…" listeners, "data-…"/"aria-…" attributes), then children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of icons.svg; decoration, so hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${ICONS}#${name}`);
  svg.append(use);
  return svg;
}

let counter = 0;

/** An id that no other element of the page has. */
export function uniqueId(stem) {
  counter += 1;
  return `${stem}-${counter}`;
}

/** A labelled control in one block; `control` gets an id if it has none. */
export function field(label, control, hint) {
  control.id ||= uniqueId("field");
  const parts = [el("label", { for: control.id }, label), control];
  if (hint) {
    const id = `${control.id}-hint`;
    control.setAttribute("aria-describedby", id);
    parts.push(el("span", { class: "hint", id }, hint));
  }
  return el("div", { class: "field" }, parts);
}

/** A box that tells something; kind is "", "warn" or "bad". */
export function notice(kind, message, ...actions) {
  return el("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : null }, el("p", {}, message), actions);
}
