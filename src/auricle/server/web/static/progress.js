// What happens just now: a line of words, a bar, and a way to stop it.

import { el, notice } from "./dom.js";
import { explain } from "./errors.js";
import { about } from "./format.js";

export class Progress {
  constructor(onCancel) {
    this.text = el("span", { role: "status", class: "status-text" });
    this.bar = el("progress", { "aria-label": "Progress", max: "1" });
    this.cancel = el("button", { type: "button", class: "small", onclick: onCancel }, "Cancel");
    this.line = el("div", { class: "status-line" }, this.text, this.bar, this.cancel);
    this.problem = el("div", {});
    this.element = el("div", { class: "progress", hidden: true }, this.line, this.problem);
  }

  /** Something runs; `fraction` null: nobody knows how far it is. */
  busy(message, fraction = null) {
    this.element.hidden = false;
    this.problem.replaceChildren();
    if (this.text.textContent !== message) this.text.textContent = message;
    if (fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
    this.bar.hidden = false;
    this.cancel.hidden = false;
  }

  /** The model is not in memory yet. */
  waiting(seconds) {
    this.busy(`The model is loading; trying again in ${about(seconds)}.`);
  }

  /** It is over. */
  rest(message) {
    this.element.hidden = !message;
    this.problem.replaceChildren();
    this.text.textContent = message;
    this.bar.hidden = true;
    this.cancel.hidden = true;
  }

  /** It failed; `again`, if given, is what the button does. */
  fail(error, again) {
    const { title, detail } = explain(error);
    this.rest("");
    this.element.hidden = false;
    const button = again ? el("button", { type: "button", class: "small", onclick: again }, "Try again") : null;
    this.problem.replaceChildren(notice("bad", `${title}. ${detail}`, ...(button ? [button] : [])));
  }
}
