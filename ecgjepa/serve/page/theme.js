// Light or dark: as the system has it, or as chosen here.

import { byId } from "./dom.js";

const STORED = "ecgjepa-theme";
const CHOICES = ["system", "light", "dark"];
const NAMES = { system: "Auto", light: "Light", dark: "Dark" };
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

/** Called after every change of the colours, for what is drawn on a canvas. */
export const onThemeChange = (call) => listeners.add(call);

/** A colour of the style sheet as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Makes the button of the header work; returns what it does. */
export function startTheme() {
  const button = byId("theme");
  let chosen = localStorage.getItem(STORED);
  if (!CHOICES.includes(chosen)) chosen = "system";

  const apply = () => {
    const dark = chosen === "dark" || (chosen === "system" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    button.textContent = `${dark ? "◐" : "◑"} ${NAMES[chosen]}`;
    button.setAttribute("aria-label", `Colours: ${NAMES[chosen].toLowerCase()}. Change them`);
    for (const call of listeners) call();
  };
  const next = () => {
    chosen = CHOICES[(CHOICES.indexOf(chosen) + 1) % CHOICES.length];
    localStorage.setItem(STORED, chosen);
    apply();
  };
  button.addEventListener("click", next);
  system.addEventListener("change", apply);
  apply();
  return next;
}
