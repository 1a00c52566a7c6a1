// An ECG on paper as SVG: one unit is one millimetre; grid, calibration pulse, traces, names of leads.

import { svg } from "./dom.js";
import { tracePath } from "./ecg.js";
import { LEFT, MM_PER_S, samplesOf } from "./layout.js";

/**
 * A sheet as a group: `ecgs[0]` in ink, a second one over it in another colour.
 *
 * Between grid and traces there is an empty group `.shades` for what is shaded.
 */
export function drawSheet(layout, ecgs, gain) {
  return svg(
    "g",
    { class: "ecg" },
    ...drawGrid(layout.width, layout.height),
    svg("g", { class: "shades" }),
    ...layout.rows.flatMap((row, number) => drawRow(row, number, ecgs, gain)),
    svg("text", { class: "foot", x: 4, y: layout.height - 2 }, footText(layout, ecgs, gain)),
  );
}

/** The paper alone: ground, lines of 1 mm and of 5 mm. */
export function drawGrid(width, height) {
  const lines = (every) => {
    const down = Array.from({ length: Math.floor(width / every) + 1 }, (_, at) => `M${at * every} 0V${height}`);
    const across = Array.from({ length: Math.floor(height / every) + 1 }, (_, at) => `M0 ${at * every}H${width}`);
    return [...down, ...across].join("");
  };
  return [
    svg("rect", { class: "ground", width, height }),
    svg("path", { class: "grid-1mm", d: lines(1) }),
    svg("path", { class: "grid-5mm", d: lines(5) }),
  ];
}

function drawRow(row, number, ecgs, gain) {
  const pulse = `M4 ${row.zero}h1v${-gain}h5v${gain}h1`;
  return [
    svg("path", { class: "pulse", d: pulse, "data-row": number }),
    ...row.cells.flatMap((cell, column) => [
      column ? svg("path", { class: "border", d: `M${cell.left} ${row.zero - 3}v6` }) : null,
      ...ecgs.map((ecg, which) => drawTrace(ecg, which, cell, row, number, gain)),
      svg("text", { class: "lead-name", x: cell.left + 1, y: row.zero - cell.labelUp }, cell.label),
    ]),
  ].filter(Boolean);
}

function drawTrace(ecg, which, cell, row, number, gain) {
  const lead = ecg.leads.get(cell.lead);
  if (!lead) return null;
  const [start, end] = samplesOf(cell, ecg, lead);
  const path = tracePath(lead, ecg.rate, gain, row.zero, LEFT, start, end, MM_PER_S);
  return svg("path", { class: which ? "trace second" : "trace", d: path, "data-lead": cell.lead, "data-row": number });
}

function footText(layout, ecgs, gain) {
  const cut = layout.rows.flatMap((row) =>
    row.cells.filter((cell) => ecgs.some((ecg) => leaves(ecg, cell, row, layout.height, gain))).map((cell) => cell.lead),
  );
  const edge = cut.length ? ` · cut off at the edge: ${[...new Set(cut)].join(", ")}` : "";
  const derived = [...ecgs[0].derived];
  return `25 mm/s · ${gain} mm/mV${derived.length ? ` · derived: ${derived.join(", ")}` : ""}${edge}`;
}

function leaves(ecg, cell, row, height, gain) {
  const lead = ecg.leads.get(cell.lead);
  if (!lead) return false;
  const [start, end] = samplesOf(cell, ecg, lead);
  return lead.subarray(start, end).some((value) => row.zero - value * gain < 0 || row.zero - value * gain > height);
}
