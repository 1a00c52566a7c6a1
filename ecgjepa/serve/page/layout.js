// Where each lead stands on the sheet, in mm: three rows of four with lead II below, or a row each.

import { STANDARD, extent, isEmpty } from "./ecg.js";

export const MM_PER_S = 25;
export const LEFT = 15;
const EDGE = 5;
const ROW = 30;
const NARROW_ROW = 20;
const MAX_ROW = 60;
const MAX_LABEL = 30;
const MANY_ROWS = 4;
// Twelve leads stand in so many columns as leave each two seconds.
const COLUMNS = [4, 2, 1];
const MIN_COLUMN_S = 2;
const RHYTHM = "II";

/**
 * The sheet of one ECG, or of several in the same places and scale.
 *
 * `inRows` gives every lead a row of its own. Returns width and height, and rows of {zero, top, bottom, cells}; a cell
 * is {lead, label, labelUp, fromS, toS, left}: the seconds it shows, and how far above the zero line its name stands.
 */
export function layOut(ecgs, gain, inRows) {
  const [first] = ecgs;
  const seconds = Math.max(...ecgs.map((ecg) => ecg.seconds));
  const names = arrange([...first.leads.keys()], seconds, inRows);
  const narrow = names.length > MANY_ROWS;
  const rows = names.map((row) => ({ cells: row.map((lead, column) => cell(ecgs, lead, column, row.length, seconds, gain, narrow)) }));
  placeRows(rows, ecgs, gain, narrow);
  const height = rows.at(-1).depth + grid(ROW / 3, -rows.at(-1).lowest + 2) + 2 * EDGE;
  for (const [number, row] of rows.entries()) {
    row.zero = row.depth + EDGE;
    const above = rows[number - 1];
    row.top = above ? above.bottom : 0;
    const below = rows[number + 1];
    row.bottom = below ? row.zero + (below.depth - row.depth) / 3 : height;
  }
  return { width: LEFT + Math.ceil((seconds * MM_PER_S) / 5) * 5 + EDGE, height, rows, seconds };
}

function arrange(leads, seconds, inRows) {
  const isStandard = STANDARD.every((lead, number) => leads[number] === lead);
  if (inRows || !isStandard) return leads.map((lead) => [lead]);
  const columns = COLUMNS.find((many) => many === 1 || seconds / many >= MIN_COLUMN_S);
  const many = STANDARD.length / columns;
  const standard = Array.from({ length: many }, (_, row) => STANDARD.filter((_, number) => number % many === row));
  const rhythm = columns === COLUMNS[0] ? [[RHYTHM]] : [];
  return [...standard, ...rhythm, ...leads.slice(STANDARD.length).map((lead) => [lead])];
}

/** The samples of an ECG that a cell shows. */
export function samplesOf(cell, ecg, lead) {
  const end = cell.isLast ? lead.length : Math.min(lead.length, Math.floor(cell.toS * ecg.rate));
  return [Math.floor(cell.fromS * ecg.rate), end];
}

function cell(ecgs, lead, column, columns, seconds, gain, narrow) {
  const made = { lead, fromS: (seconds * column) / columns, toS: (seconds * (column + 1)) / columns, isLast: column === columns - 1 };
  made.left = LEFT + made.fromS * MM_PER_S;
  const [first] = ecgs;
  const values = first.leads.get(lead);
  const [start, end] = samplesOf(made, first, values);
  made.label = isEmpty(values, start, end) ? `${lead} (no signal)` : lead;
  const near = Math.min(end, start + Math.ceil(((2 + 2.6 * made.label.length) / MM_PER_S) * first.rate));
  const usual = narrow ? 8 : 11.5;
  made.labelUp = Math.max(usual, extent(values, start, near).high * gain + 1.5);
  if (made.labelUp > MAX_LABEL) made.labelUp = usual;
  return made;
}

function placeRows(rows, ecgs, gain, narrow) {
  for (const row of rows) {
    const parts = row.cells.flatMap((each) =>
      ecgs.filter((ecg) => ecg.leads.has(each.lead)).map((ecg) => {
        const lead = ecg.leads.get(each.lead);
        return extent(lead, ...samplesOf(each, ecg, lead));
      }),
    );
    row.lowest = Math.min(...parts.map((part) => part.low)) * gain;
    row.highest = Math.max(Math.max(...parts.map((part) => part.high)) * gain, ...row.cells.map((each) => each.labelUp + 4));
  }
  const usual = Math.max(narrow ? NARROW_ROW : ROW, gain + 10);
  for (const [number, row] of rows.entries()) {
    const above = rows[number - 1];
    row.depth = above
      ? above.depth + grid(usual, row.highest - above.lowest)
      : grid(Math.max((ROW * 2) / 3, gain + 5), row.highest + 2);
  }
}

/** On a line of the grid, and no more than so much, however large the trace. */
function grid(least, wanted) {
  return Math.ceil(Math.min(Math.max(least, wanted), MAX_ROW) / 5) * 5;
}
