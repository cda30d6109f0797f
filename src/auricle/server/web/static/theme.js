// Light or dark: the system's wish unless the toggle said otherwise. Runs before the first paint, so it is no module.
(() => {
  const KEY = "auricle-theme";
  const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function stored() {
    try {
      return localStorage.getItem(KEY) || "auto";
    } catch {
      return "auto"; // storage is forbidden: the toggle then lasts for this page only
    }
  }

  let choice = stored() in NAMES ? stored() : "auto";

  function apply() {
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme-toggle");
    if (button) {
      button.querySelector(".theme-name").textContent = NAMES[choice];
      button.setAttribute("aria-label", `Colours: ${NAMES[choice]}. Change`);
    }
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  function next() {
    const order = Object.keys(NAMES);
    choice = order[(order.indexOf(choice) + 1) % order.length];
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // See stored().
    }
    apply();
  }

  apply();
  dark.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme-toggle").addEventListener("click", next);
  });
})();
