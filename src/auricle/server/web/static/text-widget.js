// <auricle-text-widget>: talk with a model, or have it write a text on, and read it as it is written.

import { showCode } from "./code.js";
import { el, field, icon, uniqueId } from "./dom.js";
import { secondsToWait } from "./errors.js";
import { Progress } from "./progress.js";
import { sleep } from "./run.js";
import { tabs } from "./tabs.js";
import { storedToken } from "./token.js";
import { written, writingSnippets } from "./writing.js";
import { copyButton } from "./clipboard.js";

const MAX_WAITS = 60;
const REASONS = { length: "It ended at the limit of its length.", tool_calls: "It calls a tool." };

class AuricleTextWidget extends HTMLElement {
  connectedCallback() {
    if (this.work) return; // it was only moved
    this.model = this.getAttribute("model") ?? "";
    this.chats = this.hasAttribute("chats");
    this.turns = []; // { role, content }
    this.abort = null;
    this.#buildOptions();
    this.progress = new Progress(() => this.abort?.abort());
    this.progress.cancel.textContent = "Stop";
    this.code = el("section", { class: "code", "aria-labelledby": "code-title" });
    const panels = [["Write on", this.#buildText()]];
    if (this.chats) panels.unshift(["Chat", this.#buildChat()]);
    this.strip = tabs("What to do", panels);
    this.strip.addEventListener("click", () => this.#modeChanged());
    this.strip.addEventListener("keyup", () => this.#modeChanged());
    this.work = el("div", { class: "work" }, this.strip, this.progress.element);
    this.append(el("div", { class: "widget" }, this.options, this.work, this.code));
    this.#modeChanged();
  }

  get isChat() {
    return this.strip.querySelector('[aria-selected="true"]').textContent === "Chat";
  }

  get busy() {
    return this.hasAttribute("aria-busy");
  }

  #buildOptions() {
    const number = (name, attributes) => {
      const input = el("input", { type: "number", inputmode: "decimal", autocomplete: "off", ...attributes });
      input.name = name;
      return input;
    };
    this.system = el("textarea", { rows: 3 });
    this.controls = {
      max_tokens: number("max_tokens", { min: "1", step: "1", value: "200" }),
      temperature: number("temperature", { min: "0", max: "100", step: "0.1", placeholder: "the model's own" }),
      top_p: number("top_p", { min: "0", max: "1", step: "0.05", placeholder: "the model's own" }),
      seed: number("seed", { min: "0", step: "1", placeholder: "another each time" }),
    };
    const form = el(
      "form",
      { class: "options", "aria-label": "Options" },
      this.chats ? field("System prompt", this.system, "Stands before the chat, and says how to answer.") : null,
      field("Tokens at most", this.controls.max_tokens),
      field("Temperature", this.controls.temperature, "0 takes the most probable word each time."),
      field("Top p", this.controls.top_p),
      field("Seed", this.controls.seed, "The same seed gives the same text."),
    );
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.#showCode());
    const isWide = matchMedia("(min-width: 60.01rem)").matches; // as in widget.css
    this.options = el("details", { class: "side", open: isWide }, el("summary", {}, "Options"), form);
  }

  /** The options as the API takes them; what is empty is left out. */
  get values() {
    const found = {};
    for (const [name, control] of Object.entries(this.controls)) {
      if (control.value !== "" && Number.isFinite(control.valueAsNumber)) found[name] = control.valueAsNumber;
    }
    return found;
  }

  #buildChat() {
    this.log = el("ol", { class: "turns", "aria-label": "Chat" });
    this.spoken = el("div", { class: "sr-only", role: "status" });
    this.message = el("textarea", { rows: 2, placeholder: "Write a message" });
    this.send = el("button", { type: "submit", class: "primary" }, "Send");
    this.stop = this.#stopButton();
    this.anew = el("button", { type: "button", class: "small", disabled: true, onclick: () => this.#newChat() }, "New chat");
    this.again = el("button", { type: "button", class: "small", disabled: true, onclick: () => this.#regenerate() }, "Answer again");
    const id = uniqueId("message");
    this.message.id = id;
    const form = el(
      "form",
      { class: "composer" },
      el("label", { for: id, class: "sr-only" }, "Message"),
      this.message,
      el("div", { class: "row" }, this.send, this.stop, this.again, this.anew, el("span", { class: "hint" }, "Enter sends, Shift+Enter begins a line.")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#say();
    });
    this.message.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#say();
    });
    this.message.addEventListener("input", () => this.#showCode());
    return el("div", { class: "chat" }, this.log, this.spoken, form);
  }

  #buildText() {
    this.prompt = el("textarea", { rows: 4 });
    this.prompt.value = "Once upon a time";
    this.prompt.addEventListener("input", () => this.#showCode());
    this.write = el("button", { type: "submit", class: "primary" }, "Write on");
    this.stopText = this.#stopButton();
    this.output = el("p", { class: "written" });
    this.outputBox = el(
      "section",
      { class: "result", "aria-label": "Text", hidden: true },
      this.output,
      el("div", { class: "row" }, copyButton("Copy text", () => this.output.textContent)),
    );
    const form = el("form", { class: "composer" }, field("Beginning", this.prompt), el("div", { class: "row" }, this.write, this.stopText));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#writeOn();
    });
    return el("div", { class: "chat" }, form, this.outputBox);
  }

  #stopButton() {
    return el("button", { type: "button", hidden: true, onclick: () => this.abort?.abort() }, icon("stop"), "Stop");
  }

  #modeChanged() {
    this.#showCode();
  }

  /** What the chat is so far, with the system prompt before it. */
  get #messages() {
    const system = this.system.value.trim();
    return [...(system ? [{ role: "system", content: system }] : []), ...this.turns];
  }

  async #say() {
    const content = this.message.value.trim();
    if (!content || this.busy) return;
    this.turns.push({ role: "user", content });
    this.log.append(turn("user", content).element);
    this.message.value = "";
    await this.#answer();
  }

  async #regenerate() {
    if (this.busy || this.turns.at(-1)?.role !== "assistant") return;
    this.turns.pop();
    this.log.lastElementChild.remove();
    await this.#answer();
  }

  #newChat() {
    if (this.busy) return;
    this.turns = [];
    this.log.replaceChildren();
    this.progress.rest("");
    this.#refresh();
    this.message.focus();
  }

  async #answer() {
    const { element, text } = turn("assistant", "");
    this.log.append(element);
    const content = await this.#stream(this.#messages, (piece) => {
      text.append(piece);
      element.scrollIntoView({ block: "nearest" });
    });
    if (content) {
      this.turns.push({ role: "assistant", content });
      this.spoken.textContent = content;
    } else {
      element.remove();
    }
    this.#refresh();
    this.message.focus();
  }

  async #writeOn() {
    if (!this.prompt.value || this.busy) return;
    this.output.replaceChildren(el("span", { class: "given" }, this.prompt.value));
    this.outputBox.hidden = false;
    await this.#stream(this.prompt.value, (piece) => this.output.append(piece));
    this.#refresh();
  }

  /** Ask, and hand pieces over as they come; the whole text, also of one that was stopped. */
  async #stream(prompt, add) {
    const abort = new AbortController();
    this.abort = abort;
    this.setAttribute("aria-busy", "true");
    this.#refresh();
    this.progress.busy("Reading…");
    const began = performance.now();
    let whole = "";
    let end = null;
    try {
      for await (const told of this.#patient(prompt, abort.signal)) {
        if (told.text) {
          if (!whole) this.progress.busy("Writing…");
          whole += told.text;
          add(told.text);
        } else {
          end = told;
        }
      }
      this.progress.rest(ended(end, (performance.now() - began) / 1000));
      this.dispatchEvent(new CustomEvent("worked"));
    } catch (error) {
      if (abort.signal.aborted) this.progress.rest("Stopped. What had been written stays.");
      else this.progress.fail(error, null);
    } finally {
      this.removeAttribute("aria-busy");
    }
    return whole;
  }

  async *#patient(prompt, signal) {
    for (let waits = 0; ; waits += 1) {
      try {
        yield* written(this.model, prompt, this.values, signal);
        return;
      } catch (error) {
        const wait = secondsToWait(error);
        if (wait === null || waits >= MAX_WAITS) throw error;
        this.progress.waiting(wait);
        await sleep(wait * 1000, signal);
      }
    }
  }

  /** What can be done now. */
  #refresh() {
    this.write.disabled = this.busy;
    this.stopText.hidden = !this.busy;
    if (this.chats) {
      this.send.disabled = this.busy;
      this.stop.hidden = !this.busy;
      this.again.disabled = this.busy || this.turns.at(-1)?.role !== "assistant";
      this.anew.disabled = this.busy || !this.turns.length;
    }
    if (!this.busy) this.#showCode();
  }

  #showCode() {
    const isChat = this.isChat;
    const next = isChat ? (this.message.value.trim() || "Hello") : "";
    const chat = this.chats ? [...this.#messages, { role: "user", content: next }] : [];
    const request = { model: this.model, prompt: isChat ? chat : this.prompt.value, options: this.values, hasToken: Boolean(storedToken()) };
    showCode(this.code, writingSnippets(request));
  }
}

function turn(role, content) {
  const text = el("p", { class: "turn-text" }, content);
  const name = el("span", { class: "turn-role" }, role === "user" ? "You" : "Model");
  return { element: el("li", { class: `turn turn-${role}` }, name, text), text };
}

function ended(end, seconds) {
  if (!end?.usage) return "";
  const { completion_tokens: n, prompt_tokens: read } = end.usage;
  const cached = end.usage.prompt_tokens_details?.cached_tokens ?? 0;
  const more = cached ? `, ${cached} of them known from before` : "";
  const rate = seconds > 0.05 ? `, ${(n / seconds).toFixed(1)} a second` : "";
  return `${n} tokens in ${seconds.toFixed(1)} s${rate}; ${read} tokens read${more}. ${REASONS[end.reason] ?? ""}`.trim();
}

customElements.define("auricle-text-widget", AuricleTextWidget);
