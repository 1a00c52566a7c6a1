// Rows of the archive by number, each asked for once.

import { get } from "./api.js";

const KEPT = 5000;
const known = new Map();

/** Keeps what a list of rows said already. */
export function remember(records) {
  for (const record of records) {
    known.delete(record.row);
    known.set(record.row, record);
  }
  while (known.size > KEPT) known.delete(known.keys().next().value);
}

/** A row that was seen before, or undefined. */
export const seen = (row) => known.get(row);

/** Names, labels, age, sex of a row: without filters the list of all records is in the order of the rows. */
export async function recordOf(row, signal = undefined) {
  if (!known.has(row)) {
    const page = await get("api/records", { offset: row, limit: 1 }, signal);
    remember(page.records);
  }
  return known.get(row) ?? null;
}

/** Several rows, a few requests at once. */
export async function recordsOf(rows, signal = undefined, atOnce = 4) {
  const found = new Array(rows.length);
  let next = 0;
  const work = async () => {
    while (next < rows.length) {
      const at = next;
      next += 1;
      found[at] = await recordOf(rows[at], signal);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return found.filter(Boolean);
}
