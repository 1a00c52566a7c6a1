// The list of the archive: search, filters, arrows and Enter.

import { get } from "./api.js";
import { byId, el, settled } from "./dom.js";
import { makeFilters } from "./filters.js";
import { remember } from "./records.js";
import { number, personText } from "./words.js";

const PAGE = 50;
const NEAR_END_PX = 300;

/** The panel of the archive; `open(row)` opens one, `failed(error)` tells what went wrong. */
export function makeArchive(index, { open, failed }) {
  const list = byId("records");
  const search = byId("search");
  let records = [];
  let total = 0;
  let active = -1;
  let current = null;
  let request = null;

  const filters = makeFilters(index, () => restart());
  byId("archive-filters").append(filters.element);
  byId("archive").hidden = false;

  async function load() {
    if (request || (records.length && records.length >= total)) return;
    const mine = new AbortController();
    request = mine;
    list.setAttribute("aria-busy", "true");
    try {
      const page = await get("api/records", { q: search.value.trim(), ...filters.value(), offset: records.length, limit: PAGE }, mine.signal);
      remember(page.records);
      total = page.total;
      list.querySelector(".empty")?.remove();
      list.append(...page.records.map((record, at) => item(record, records.length + at)));
      records = records.concat(page.records);
      byId("archive-count").textContent = total === index.rows ? number(total) : `${number(total)} of ${number(index.rows)}`;
      if (!total) list.append(el("li", { class: "empty" }, "No record fits. Change the search or the filters."));
      if (active >= 0) activate(Math.min(active, records.length - 1), false);
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
    } finally {
      if (request === mine) {
        request = null;
        list.removeAttribute("aria-busy");
      }
    }
  }

  function restart() {
    request?.abort();
    request = null;
    records = [];
    total = 0;
    active = -1;
    list.removeAttribute("aria-activedescendant");
    list.replaceChildren();
    list.scrollTop = 0;
    load();
  }

  function item(record, at) {
    return el(
      "li",
      { role: "option", id: `record-${at}`, "aria-selected": String(record.row === current), "data-row": record.row, onclick: () => choose(at) },
      el("span", { class: "record-name", title: record.record }, record.record),
      el("span", { class: "record-person" }, personText({ ...record, source: index.sources.length > 1 ? record.source : null })),
      el("span", { class: "record-labels", title: record.labels.join(" · ") }, record.labels.join(" · ") || "no labels"),
    );
  }

  function activate(at, scrolls = true) {
    if (at < 0 || at >= records.length) return;
    list.querySelector(".active")?.classList.remove("active");
    active = at;
    const element = byId(`record-${at}`);
    element.classList.add("active");
    list.setAttribute("aria-activedescendant", element.id);
    if (scrolls) element.scrollIntoView({ block: "nearest" });
    if (at > records.length - 10) load();
  }

  function choose(at) {
    activate(at);
    if (records[at]) open(records[at].row);
  }

  const step = (by) => activate(Math.max(0, Math.min(records.length - 1, active + by)));

  list.addEventListener("keydown", (event) => {
    const moves = { ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(8), PageUp: () => step(-8), Home: () => activate(0), End: () => activate(records.length - 1), Enter: () => choose(active), " ": () => choose(active) };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  list.addEventListener("focus", () => active < 0 && activate(Math.max(0, records.findIndex(({ row }) => row === current))));
  list.addEventListener("scroll", () => list.scrollTop + list.clientHeight > list.scrollHeight - NEAR_END_PX && load());
  search.addEventListener("input", settled(200, restart));
  search.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      list.focus();
      if (event.key === "Enter" && records.length === 1) choose(0);
    }
  });
  load();

  return {
    /** Marks the row that is open, null for none. */
    mark: (row) => {
      current = row;
      for (const element of list.querySelectorAll("[role=option]")) element.setAttribute("aria-selected", String(Number(element.dataset.row) === row));
    },
    /** Opens the next (1) or previous (-1) record of the list. */
    go: (by) => {
      const at = records.findIndex(({ row }) => row === current);
      const next = at < 0 ? 0 : at + by;
      if (next >= 0 && next < records.length) choose(next);
    },
  };
}
