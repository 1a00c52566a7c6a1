// What a class rests on, shaded between grid and traces: orange speaks for it, violet hatched against it.

import { el, svg } from "./dom.js";
import { LEFT, MM_PER_S } from "./layout.js";
import { fixed } from "./words.js";

// Below this share of the largest value nothing is shaded, so that the paper stays calm.
const LEAST = 0.04;
const MAX_OPACITY = 0.75;

/** Hatching of what speaks against; it is part of every sheet that is shaded. */
const hatching = () =>
  svg(
    "pattern",
    { id: "against", width: 1.6, height: 1.6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "against-ground", width: 1.6, height: 1.6 }),
    svg("path", { class: "against-line", d: "M0 0V1.6" }),
  );

/** The largest fall, by which the scale is set. */
export const largestFall = ({ fall }) => Object.values(fall).flat().reduce((most, value) => Math.max(most, Math.abs(value ?? 0)), 0);

/** Fills the group `.shades` of a sheet; an occlusion of null empties it. */
export function shade(sheet, layout, occlusion) {
  const group = sheet.querySelector(".shades");
  group.replaceChildren();
  if (!occlusion) return;
  const largest = largestFall(occlusion) || 1;
  group.append(svg("defs", {}, hatching()));
  for (const row of layout.rows) {
    for (const cell of row.cells) group.append(...stretches(occlusion, cell, row, largest));
  }
}

function stretches(occlusion, cell, row, largest) {
  const fall = occlusion.fall[cell.lead];
  if (!fall) return [];
  const made = [];
  const seconds = occlusion.patch_seconds * occlusion.stretch_patches;
  for (let patch = 0; patch < fall.length; patch += occlusion.stretch_patches) {
    const value = fall.slice(patch, patch + occlusion.stretch_patches).find((each) => each !== null);
    if (value === undefined || Math.abs(value) < LEAST * largest) continue;
    const from = Math.max(patch * occlusion.patch_seconds, cell.fromS);
    const to = Math.min(patch * occlusion.patch_seconds + seconds, fall.length * occlusion.patch_seconds, cell.toS);
    if (to <= from) continue;
    const box = svg(
      "rect",
      {
        class: value > 0 ? "for" : "against",
        fill: value > 0 ? null : "url(#against)",
        x: LEFT + from * MM_PER_S,
        y: row.top,
        width: (to - from) * MM_PER_S,
        height: row.bottom - row.top,
        "fill-opacity": ((Math.abs(value) / largest) * MAX_OPACITY).toFixed(3),
        "data-lead": cell.lead,
        "data-patch": patch,
      },
      svg("title", {}, `${cell.lead}, ${fixed(from, 1)} to ${fixed(to, 1)} s: ${value > 0 ? "for" : "against"}, ${fixed(Math.abs(value), 3)}`),
    );
    made.push(box);
  }
  return made;
}

/** The legend below the paper, with the words for screen readers and for those who do not see the colours. */
export function shadingLegend(occlusion, turnOff) {
  const largest = largestFall(occlusion);
  return [
    el("strong", {}, `What ${occlusion.class_name} rests on`),
    el(
      "span",
      { class: "scale" },
      el("span", { class: "end" }, `against −${fixed(largest, 2)}`),
      svg(
        "svg",
        { viewBox: "0 0 120 10", "aria-hidden": "true" },
        svg("defs", {}, scaleGradient("scale-against", 1, 0), scaleGradient("scale-for", 0, 1), scaleHatching()),
        svg("rect", { class: "scale-ground", width: 120, height: 10 }),
        svg("rect", { width: 60, height: 10, fill: "url(#scale-against)", class: "scale-against" }),
        svg("rect", { width: 60, height: 10, fill: "url(#scale-hatching)" }),
        svg("rect", { x: 60, width: 60, height: 10, fill: "url(#scale-for)" }),
        svg("path", { class: "scale-zero", d: "M60 0V10" }),
      ),
      el("span", { class: "end" }, `for +${fixed(largest, 2)}`),
    ),
    el("span", { class: "muted" }, `fall of the log odds when ${fixed(occlusion.patch_seconds * occlusion.stretch_patches, 1)} s of one lead are hidden; hatched: against. ${strongest(occlusion)}`),
    el("button", { type: "button", class: "quiet", onclick: turnOff }, "Turn off"),
  ];
}

const scaleGradient = (id, from, to) =>
  svg(
    "linearGradient",
    { id },
    svg("stop", { offset: 0, class: `${id}-stop`, "stop-opacity": from * MAX_OPACITY }),
    svg("stop", { offset: 1, class: `${id}-stop`, "stop-opacity": to * MAX_OPACITY }),
  );

const scaleHatching = () =>
  svg("pattern", { id: "scale-hatching", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("path", { class: "against-line", d: "M0 0V4" }));

/** The stretch that speaks most for the class, in words. */
export function strongest(occlusion) {
  let best = { value: 0 };
  for (const [lead, fall] of Object.entries(occlusion.fall)) {
    for (const [patch, value] of fall.entries()) if (value !== null && value > best.value) best = { lead, patch, value };
  }
  if (!best.lead) return "No stretch speaks for it.";
  const from = best.patch * occlusion.patch_seconds;
  return `Most: ${best.lead} at ${fixed(from, 1)} s.`;
}
