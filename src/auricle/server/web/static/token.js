// The access token: asked for when the server answers 401, kept until the tab closes.

import { el, field } from "./dom.js";

const KEY = "auricle-token";
let remembered = null; // where storage is forbidden
let asking = null; // one dialog for all calls that wait

export function storedToken() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return remembered;
  }
}

function keep(token) {
  remembered = token;
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // `remembered` serves until the page is left.
  }
}

/** Ask for a token; resolves to whether one was given. `refused` is what the server said of the last one. */
export function askForToken(refused) {
  asking ??= show(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function show(refused) {
  return new Promise((resolve) => {
    const input = el("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
    const dialog = el(
      "dialog",
      { "aria-labelledby": "token-title", onclose: closed },
      el(
        "form",
        { method: "dialog" },
        el("h2", { id: "token-title" }, "This server asks for a token"),
        refused ? el("p", { class: "notice bad", role: "alert" }, `It did not take the last one: ${refused}`) : null,
        el("p", {}, "Whoever runs it makes one with ", el("code", {}, "auricle token create"), "."),
        field("Access token", input, "Kept in this tab only, and forgotten when it closes."),
        el(
          "div",
          { class: "row end" },
          el("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
          el("button", { class: "primary", value: "given" }, "Continue"),
        ),
      ),
    );
    function closed() {
      const token = input.value.trim();
      const isGiven = dialog.returnValue === "given" && token !== "";
      if (isGiven) keep(token);
      dialog.remove();
      resolve(isGiven);
    }
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
