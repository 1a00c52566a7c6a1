// Which rows of the archive: labels, sex, source, age; the same controls wherever rows are chosen.

import { el, settled } from "./dom.js";
import { number } from "./words.js";

let made = 0;

/** Controls for an index as `about` describes it; `changed()` is called after each change. */
export function makeFilters(index, changed) {
  const id = `filters-${(made += 1)}`;
  let labels = [];
  const chips = el("div", { class: "chips" });
  const summary = el("summary", {}, "Filters");
  const label = select(`${id}-label`, "add a label", index.labels.map(({ label: name, count }) => [name, `${name} (${number(count)})`]));
  const sex = select(`${id}-sex`, "any", index.sexes.map((name) => [name, name]));
  const source = select(`${id}-source`, "any", index.sources.map((name) => [name, name]));
  const ages = ["from", "to"].map((word) => el("input", { type: "number", min: 0, max: 130, step: 1, placeholder: word, "aria-label": `Age ${word}`, inputmode: "numeric" }));
  const clear = el("button", { type: "button", class: "quiet", onclick: () => reset() }, "Clear");

  const field = (name, ...controls) => el("div", { class: "field" }, el("label", { for: controls[0].id }, name), ...controls);
  ages[0].id = `${id}-age`;
  const element = el(
    "details",
    { class: "filters" },
    summary,
    el("div", { class: "fields" }, field("Label", label), chips, field("Sex", sex), index.sources.length > 1 && field("Source", source), field("Age", ...ages), clear),
  );

  const value = () => ({ label: labels, sex: sex.value, source: source.value, age_min: ages[0].value, age_max: ages[1].value });
  const active = () => labels.length + [sex, source, ...ages].filter((control) => control.value !== "").length;

  function show(tells = true) {
    summary.textContent = active() ? `Filters · ${active()} on` : "Filters";
    summary.classList.toggle("on", active() > 0);
    clear.disabled = !active();
    chips.replaceChildren(
      ...labels.map((name) => el("button", { type: "button", class: "chip", "aria-label": `Remove label ${name}`, onclick: () => setLabels(labels.filter((each) => each !== name)) }, `${name} ×`)),
    );
    chips.hidden = !labels.length;
    if (tells) changed();
  }
  function setLabels(next) {
    labels = next;
    show();
  }
  function reset() {
    labels = [];
    for (const control of [sex, source, ...ages]) control.value = "";
    show();
  }

  label.addEventListener("change", () => {
    if (label.value && !labels.includes(label.value)) setLabels([...labels, label.value]);
    label.value = "";
  });
  for (const control of [sex, source]) control.addEventListener("change", () => show());
  for (const control of ages) control.addEventListener("input", settled(350, () => control.validity.valid && show()));
  show(false);
  return { element, value, isActive: () => active() > 0 };
}

function select(id, nothing, choices) {
  return el("select", { id }, el("option", { value: "" }, nothing), ...choices.map(([value, text]) => el("option", { value }, text)));
}
