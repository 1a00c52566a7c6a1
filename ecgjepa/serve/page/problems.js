// Messages: what went wrong and what to do, and quiet news for screen readers.

import { byId, el } from "./dom.js";
import { explain } from "./words.js";

/** Shows an error in plain words; the panel on the left asks for more where `asks`. */
export function showProblem(error, asks = false) {
  const { title, detail, advice } = explain(error, asks);
  if (error.status === undefined) console.error(error);
  const box = byId("problem");
  box.replaceChildren(
    el("div", {}, el("strong", {}, `${title}.`), " ", el("span", {}, detail), " ", el("span", { class: "advice" }, advice)),
    el("button", { type: "button", class: "quiet", "aria-label": "Close this message", onclick: forgetProblem }, "Close"),
  );
  box.classList.toggle("asks", Boolean(asks));
  box.hidden = false;
}

/** Takes the message away; whether there was one. */
export function forgetProblem() {
  const box = byId("problem");
  const was = !box.hidden;
  box.hidden = true;
  return was;
}

/** Says something to those who do not see the page. */
export function say(text) {
  byId("live").textContent = text;
}
