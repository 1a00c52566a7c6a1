// A few choices of which one holds, as buttons in a row; arrows move between them.

import { el } from "./dom.js";

/**
 * A radio group in one line.
 *
 * `choices` is a list of [value, text, name for screen readers]; `choose(value)` is called when it changes.
 */
export function makeChoices(name, choices, chosen, choose) {
  const buttons = choices.map(([value, text, title]) =>
    el("button", { type: "button", role: "radio", title: title ?? null, "aria-label": title ?? null, onclick: () => set(value, true) }, text),
  );
  const group = el("div", { class: "choices", role: "radiogroup", "aria-label": name }, ...buttons);
  const values = choices.map(([value]) => value);
  let current;

  const set = (value, tells = false) => {
    const changed = value !== current;
    current = value;
    for (const [at, button] of buttons.entries()) {
      button.setAttribute("aria-checked", String(values[at] === value));
      button.tabIndex = values[at] === value ? 0 : -1;
    }
    if (tells && changed) choose(value);
  };
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (values.indexOf(current) + step + values.length) % values.length;
    set(values[next], true);
    buttons[next].focus();
  });
  set(chosen);
  return { element: group, set, value: () => current };
}
