// The frame around the panels: what is served, the tabs, the question for a token.

import { byId, el } from "./dom.js";
import { number } from "./words.js";

/** The facts of the header. */
export function showServed({ encoder, classifier, index, version }) {
  const fact = (name, text, more) => el("div", { title: more }, el("dt", {}, name), el("dd", {}, text));
  byId("served").replaceChildren(
    fact("Encoder", encoder.source, `${encoder.width} wide; ${encoder.leads.join(", ")}; ${encoder.sampling_rate_hz} Hz, ${encoder.seconds} s; weights ${encoder.weights_sha256.slice(0, 12)}; ecgjepa ${version}`),
    fact("Classifier", classifier ? classifier.source : "none", classifier ? `${classifier.task}, ${classifier.classes.length} classes` : "start with --model"),
    fact("Archive", index ? `${number(index.rows)} ECGs` : "none", index ? `${index.metric.replaceAll("_", " ")} distance; labels of level ${index.level ?? "none"}` : "start with --index"),
  );
}

/** The two views of the archive; `shown[name]()` is called when one is shown. */
export function makeTabs(shown) {
  const names = ["similar", "map"];
  const tabs = Object.fromEntries(names.map((name) => [name, byId(`tab-${name}`)]));
  const main = document.querySelector("main");
  const besideButton = byId("beside");
  const beside = () => besideButton.setAttribute("aria-pressed", String(main.classList.toggle("beside")));
  besideButton.addEventListener("click", beside);
  const choose = (name) => {
    for (const each of names) {
      tabs[each].setAttribute("aria-selected", String(each === name));
      tabs[each].tabIndex = each === name ? 0 : -1;
      byId(each).hidden = each !== name;
    }
    shown[name]?.();
  };
  for (const name of names) {
    tabs[name].addEventListener("click", () => choose(name));
    tabs[name].addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      event.preventDefault();
      const other = names[1 - names.indexOf(name)];
      choose(other);
      tabs[other].focus();
    });
  }
  return { choose, beside, note: (name, text) => (tabs[name].dataset.note = text) };
}

let asked = null;

/** Asks for the token of the server, once for all who need it; null if nothing was given. */
export function askForToken(wasWrong) {
  asked ??= tokenGiven(wasWrong).finally(() => (asked = null));
  return asked;
}

function tokenGiven(wasWrong) {
  const dialog = byId("token");
  const field = el("input", { type: "password", id: "token-field", autocomplete: "off", required: true, pattern: "[!-~]+", title: "letters, digits and signs without spaces" });
  const form = el(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        dialog.close("ok");
      },
    },
    el("h2", { id: "token-title" }, "A token is needed"),
    el("p", {}, wasWrong ? "That was not the token of this server." : "This server answers only those who know its token. Who started it has seen it in the terminal."),
    el("label", { for: "token-field" }, "Token"),
    field,
    el("div", { class: "buttons" }, el("button", { type: "submit", class: "primary", value: "ok" }, "Go on"), el("button", { type: "button", class: "quiet", onclick: () => dialog.close("") }, "Cancel")),
  );
  dialog.returnValue = "";
  dialog.replaceChildren(form);
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? field.value.trim() || null : null), { once: true }));
}
