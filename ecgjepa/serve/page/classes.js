// What the classifier says: bars with thresholds, or numbers of a regression; a bar asks what the class rests on.

import { byId, el, settled } from "./dom.js";
import { fixed, number } from "./words.js";

const MANY = 12;

/** The panel of the classifier; `explainClass(name or null)` is called when a class is chosen or left. */
export function makeClasses({ explainClass }) {
  const body = byId("classes-body");
  const title = byId("classes-count");
  const search = el("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class by its name", autocomplete: "off", spellcheck: "false", oninput: settled(60, () => draw()) });
  const list = el("ul", { class: "bars", "aria-label": "Classes, most probable first" });
  const progress = el("div", { class: "progress", hidden: true });
  let outputs = [];
  let chosen = null;
  let task = null;

  function draw() {
    const asked = search.value.trim().toLowerCase();
    const found = outputs.filter((output) => output.name.toLowerCase().includes(asked));
    list.replaceChildren(...found.map((output) => (output.value === null ? bar(output) : value(output))));
    if (!found.length) list.append(el("li", { class: "empty" }, "No class has this in its name."));
  }

  /** Two decimals, or as many more as tell a probability from its threshold, on whose other side it lies. */
  function decimalsOf(probability, threshold) {
    if (threshold === null) return 2;
    return [2, 3, 4].find((many) => fixed(probability, many) !== fixed(threshold, many) || probability === threshold) ?? 4;
  }

  function bar({ name, probability, threshold, called }) {
    const decimals = decimalsOf(probability, threshold);
    const fill = el("span", { class: "fill" });
    fill.style.width = `${probability * 100}%`;
    const tick = threshold === null ? null : el("span", { class: "tick", title: `threshold ${fixed(threshold, decimals)}` });
    if (tick) tick.style.left = `${threshold * 100}%`;
    const says = [`${name}: ${fixed(probability, decimals)}`, threshold === null ? null : `threshold ${fixed(threshold, decimals)}`, called ? "called" : "not called"].filter(Boolean).join(", ");
    const button = el(
      "button",
      { type: "button", class: called ? "bar called" : "bar", "aria-pressed": String(name === chosen), "aria-label": `${says}. Show what it rests on`, "data-class": name, onclick: () => explainClass(name === chosen ? null : name) },
      el("span", { class: "name", title: name }, name),
      el("span", { class: "verdict" }, called ? "called" : ""),
      el("span", { class: "number" }, fixed(probability, decimals)),
      el("span", { class: "track" }, fill, tick),
    );
    return el("li", {}, button);
  }

  /** A regression has no log odds, so there is nothing that it could be shown to rest on. */
  function value({ name, value: of, unit }) {
    return el("li", { class: "value" }, el("span", { class: "name", title: name }, name), el("span", { class: "number" }, number(of, 2), el("small", {}, unit ?? "")));
  }

  function mark() {
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.class === chosen));
  }

  return {
    /** What is served at all: null if there is no classifier. */
    describe: (classifier) => {
      task = classifier?.task ?? null;
      byId("classes").classList.toggle("absent", !classifier);
      if (!classifier) body.replaceChildren(el("p", { class: "empty" }, "No classifier is served. Start with --model to see probabilities."));
    },
    show: (answer) => {
      if (!task) return;
      outputs = [...answer.outputs].sort((one, two) => (two.probability ?? 0) - (one.probability ?? 0));
      title.textContent = task === "regression" ? "" : `${answer.called.length} of ${outputs.length} called`;
      search.hidden = outputs.length <= MANY;
      const thresholds = outputs.some(({ threshold }) => threshold !== null) ? [el("span", { class: "key-tick" }), "threshold of the class"] : [];
      const key = task === "regression" ? null : el("p", { class: "bar-key" }, ...thresholds, el("span", { class: "key-called" }), task === "multiclass" ? "called: the most probable" : "called");
      body.replaceChildren(search, ...(key ? [key] : []), progress, list);
      if (key) body.append(el("p", { class: "hint" }, "Choose a class to see on the paper what it rests on."));
      draw();
    },
    /** Which class is explained; null for none. */
    choose: (name) => {
      chosen = name;
      mark();
    },
    /** That a map of what a class rests on is being made; null when it is done. */
    wait: (name, cancel) => {
      progress.hidden = !name;
      if (name) progress.replaceChildren(el("span", { class: "meter", role: "progressbar", "aria-label": `Working out what ${name} rests on` }), el("span", {}, `What ${name} rests on …`), el("button", { type: "button", class: "quiet", onclick: cancel }, "Cancel"));
      else progress.replaceChildren();
    },
  };
}
