// What the keys do, in one place: the dialog shows the same list that is listened to.

import { byId, el, isWriting } from "./dom.js";

/**
 * Listens to keys; `bindings` is a list of {keys, shown, text, run, part}.
 *
 * `run(event)` returning false leaves the key to others. Keys with Ctrl, Alt or Meta are the browser's.
 */
export function startKeys(bindings) {
  const dialog = byId("keys");
  const parts = [...new Set(bindings.map(({ part }) => part))];
  dialog.append(
    el("div", { class: "dialog-head" }, el("h2", { id: "keys-title" }, "Keys"), el("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, "Close")),
    el("div", { class: "key-parts" }, ...parts.map((part) => el("section", {}, el("h3", {}, part), el("dl", {}, ...bindings.filter((each) => each.part === part).map(row))))),
  );
  const show = () => dialog.showModal();
  byId("show-keys").addEventListener("click", show);

  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open || document.querySelector("dialog[open]")) return;
    if (isWriting(event) && event.key !== "Escape") return;
    if (event.key === "?") return show();
    const found = bindings.find(({ keys, run }) => run && keys.includes(event.key.length === 1 ? event.key.toLowerCase() : event.key));
    if (found && found.run(event) !== false) event.preventDefault();
  });
}

const row = ({ shown, text }) => el("div", {}, el("dt", {}, ...shown.map((key) => el("kbd", {}, key))), el("dd", {}, text));
