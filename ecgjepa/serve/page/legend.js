// What the colours and shapes of the map mean; an entry shows its points alone.

import { el, svg } from "./dom.js";
import { number } from "./words.js";

const PATHS = {
  circle: "M8 3.5a4.5 4.5 0 1 0 .01 0Z",
  ring: "M8 3.5a4.5 4.5 0 1 0 .01 0Z",
  triangle: "M8 2.6 13 11.6H3Z",
  wedge: "M8 13.4 13 4.4H3Z",
  square: "M4 4H12V12H4Z",
  diamond: "M8 2 13 8 8 14 3 8Z",
  cross: "M4 4 12 12M4 12 12 4",
  plus: "M8 3V13M3 8H13",
};
const STROKED = ["ring", "cross", "plus"];

/** Buttons of the categories; `only` is the one that is shown alone; `choose(code or null)`, `group(code)`. */
export function drawLegend({ styles, scale }, only, { choose, group }) {
  const entries = styles.map((style, code) => ({ ...style, code })).filter(({ count }) => count > 0);
  const list = el("ul", { class: scale ? "legend steps" : "legend", "aria-label": "Colours of the map" }, ...entries.map((entry) => item(entry, only, choose)));
  const chosen = entries.find(({ code }) => code === only);
  const button = chosen ? el("button", { type: "button", class: "group-this", onclick: () => group(only) }, `Describe “${chosen.name}${scale && chosen.code < styles.length - 1 ? ` ${scale.unit}` : ""}” as a group`) : null;
  return [list, ...(button ? [button] : [])];
}

function item({ name, colour, shape, count, code }, only, choose) {
  const mark = svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[shape], fill: STROKED.includes(shape) ? "none" : colour, stroke: STROKED.includes(shape) ? colour : "none", "stroke-width": 2.2 }));
  return el(
    "li",
    {},
    el("button", { type: "button", "aria-pressed": String(code === only), "data-code": code, title: "Show these points alone", onclick: () => choose(code === only ? null : code) }, mark, el("span", { class: "name" }, name), el("span", { class: "number" }, number(count))),
  );
}
