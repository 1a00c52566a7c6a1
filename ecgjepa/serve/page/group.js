// A group of rows: which labels it has against the whole archive, ages, sex, sources; its records as a list.

import { el, svg } from "./dom.js";
import { recordsOf } from "./records.js";
import { count, number, personText } from "./words.js";

const FEW_LABELS = 12;
const PAGE = 10;
const OLDEST = 100;

/** Parts of the panel for an answer of the server; `rows` is the number of rows of the index. */
export function describeGroup(group, rows, { open, clear, failed }) {
  const head = el(
    "div",
    { class: "group-head" },
    el("h3", {}, count(group.count, "ECG"), " ", el("small", {}, `${percent(group.count / rows)} of the archive`)),
    el("button", { type: "button", class: "quiet", onclick: clear }, "Clear"),
  );
  if (!group.count) return [head, el("p", { class: "empty" }, "No point lies inside. Draw around some points.")];
  return [head, labels(group, rows), ages(group), ...split("Sex", group.sexes, group.count), ...(Object.keys(group.sources).length > 1 ? split("Source", group.sources, group.count) : []), recordList(group.rows, { open, failed })];
}

function labels(group, rows) {
  const bars = group.labels.map((label) => labelBar(label, group.count, rows));
  const list = el("ul", { class: "group-labels", "aria-label": "Labels of the group" }, ...bars.slice(0, FEW_LABELS));
  const rest = bars.slice(FEW_LABELS);
  const more = rest.length
    ? el("button", { type: "button", class: "quiet", onclick: (event) => (list.append(...rest), event.currentTarget.remove()) }, `${rest.length} more labels`)
    : null;
  return el("div", {}, el("p", { class: "bar-key" }, el("span", { class: "key-group" }), "in the group", el("span", { class: "key-all" }), "in the archive"), list, more ?? "");
}

function labelBar({ label, count: many, of_all: ofAll }, groupRows, rows) {
  const [inGroup, inAll] = [many / groupRows, ofAll / rows];
  const bar = (kind, share) => {
    const made = el("span", { class: kind });
    made.style.width = `${share * 100}%`;
    return made;
  };
  return el(
    "li",
    { "data-label": label, "data-count": many, "aria-label": `${label}: ${many} of ${groupRows}, ${percent(inGroup)}; in the archive ${percent(inAll)}` },
    el("span", { class: "name", title: label }, label),
    el("span", { class: "number" }, number(many)),
    el("span", { class: "share" }, percent(inGroup)),
    el("span", { class: "pair" }, bar("in-group", inGroup), bar("in-all", inAll)),
  );
}

function ages({ age_quartiles: quartiles }) {
  if (!quartiles) return el("p", { class: "muted" }, "No age is known.");
  const [low, middle, high] = quartiles;
  const at = (age) => (Math.min(OLDEST, age) / OLDEST) * 200;
  return el(
    "div",
    { class: "group-ages" },
    el("h4", {}, "Age"),
    svg(
      "svg",
      { viewBox: "0 0 200 14", class: "quartiles", "aria-hidden": "true" },
      svg("path", { class: "axis", d: "M0 12H200M0 9V12M50 9V12M100 9V12M150 9V12M200 9V12" }),
      svg("rect", { class: "box", x: at(low), y: 1, width: Math.max(1, at(high) - at(low)), height: 7 }),
      svg("path", { class: "median", d: `M${at(middle)} 0V9` }),
    ),
    el("p", {}, `median ${number(middle, 0)} years, half of them from ${number(low, 0)} to ${number(high, 0)}`),
  );
}

function split(name, counts, all) {
  const entries = Object.entries(counts).sort(([, one], [, two]) => two - one);
  return [el("h4", {}, name), el("p", { class: "split" }, entries.map(([value, many]) => `${value} ${number(many)} (${percent(many / all)})`).join(" · "))];
}

function recordList(rows, { open, failed }) {
  const list = el("ul", { class: "group-records", "aria-label": "Records of the group" });
  let shown = 0;
  const more = el("button", { type: "button", onclick: () => next() }, "List the records");
  async function next() {
    more.disabled = true;
    try {
      const records = await recordsOf(rows.slice(shown, shown + PAGE));
      shown += PAGE;
      list.append(
        ...records.map((record) =>
          el(
            "li",
            {},
            el("button", { type: "button", class: "record-button", "data-row": record.row, onclick: () => open(record.row) }, el("span", { class: "record-name" }, record.record), el("span", { class: "record-person" }, personText(record)), el("span", { class: "record-labels" }, record.labels.join(" · "))),
          ),
        ),
      );
      more.textContent = `Next ${Math.min(PAGE, rows.length - shown)} of ${number(rows.length)}`;
      more.hidden = shown >= rows.length;
    } catch (error) {
      failed(error);
    } finally {
      more.disabled = false;
    }
  }
  return el("div", { class: "group-list" }, list, more);
}

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1%";
  return `${number(share * 100, share < 0.1 ? 1 : 0)}%`;
}
