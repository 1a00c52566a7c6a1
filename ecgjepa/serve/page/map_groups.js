// Groups of rows on the map: inside a polygon, of a category, or as filters choose them; the server counts.

import { get, postJson } from "./api.js";
import { el } from "./dom.js";
import { describeGroup } from "./group.js";
import { remember } from "./records.js";
import { number } from "./words.js";

const PAGE = 500;
const MOST_FILTERED = 10_000;

/** The panel of groups; `changed(rows or null)` is told which rows are the group, `open`, `failed`, `say` as elsewhere. */
export function makeGroups(index, { open, failed, say, changed }) {
  const panel = el("div", { class: "group" });
  let request = new AbortController();
  let isThere = false;

  function showHelp() {
    panel.replaceChildren(
      el("p", { class: "hint" }, "Near on the map is alike to the encoder; the axes have no unit. A click on a point opens its ECG. A lasso, what is in view, a colour or a filter make a group, and here stands what it is made of."),
    );
  }

  function begin() {
    request.abort();
    request = new AbortController();
    panel.replaceChildren(el("p", { class: "muted" }, "Counting …"));
    return request.signal;
  }

  async function guarded(work) {
    try {
      await work(begin());
    } catch (error) {
      if (error.name === "AbortError") return;
      clear();
      failed(error);
    }
  }

  async function ask(body, signal, note = "") {
    const group = await postJson("api/groups", body, signal);
    isThere = true;
    changed(group.rows);
    panel.replaceChildren(...describeGroup(group, index.rows, { open, clear, failed }), note);
    say(`Group of ${group.count} ECGs. Most frequent: ${group.labels.slice(0, 3).map(({ label, count }) => `${label} ${count}`).join(", ")}`);
  }

  async function rowsOf(query, signal) {
    const rows = [];
    for (let total = 1; rows.length < Math.min(total, MOST_FILTERED); ) {
      const page = await get("api/records", { ...query, offset: rows.length, limit: PAGE }, signal);
      if (!page.records.length) return { rows, total: rows.length };
      remember(page.records);
      total = page.total;
      rows.push(...page.records.map(({ row }) => row));
      if (rows.length >= MOST_FILTERED) return { rows, total };
    }
    return { rows, total: rows.length };
  }

  /** Forgets the group; whether there was one. */
  function clear() {
    const was = isThere;
    request.abort();
    isThere = false;
    showHelp();
    changed(null);
    return was;
  }

  showHelp();
  return {
    element: panel,
    clear,
    inside: (polygon) => guarded((signal) => ask({ polygon }, signal)),
    of: (rows) => guarded((signal) => ask({ rows }, signal)),
    filtered: (query) =>
      guarded(async (signal) => {
        const { rows, total } = await rowsOf(query, signal);
        const note = total > rows.length ? el("p", { class: "hint" }, `Only the first ${number(rows.length)} of ${number(total)} ECGs are counted.`) : "";
        await ask({ rows }, signal, note);
      }),
  };
}
