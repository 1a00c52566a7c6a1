// The most similar ECGs of the archive, drawn small; opened, or compared with the one on the paper.

import { get } from "./api.js";
import { makeChoices } from "./choices.js";
import { byId, el } from "./dom.js";
import { makeFilters } from "./filters.js";
import { drawMiniature } from "./miniature.js";
import { fixed, personText } from "./words.js";

/** The panel; `again(query)` asks for other neighbours, `open(row)`, `compare(neighbour, signal)`. */
export function makeSimilar(index, { again, open, compare, failed }) {
  const panel = byId("similar");
  const cards = el("ol", { class: "cards", "aria-label": "Most similar first" });
  const note = el("p", { class: "empty" }, "The most similar ECGs of the archive stand here when an ECG is open.");
  let request = new AbortController();

  if (!index) {
    panel.append(el("p", { class: "empty" }, "No archive is served. Start with --index to see similar ECGs and the map."));
    return { show: () => {}, query: () => ({ neighbours: 0 }), compared: () => {} };
  }

  const filters = makeFilters(index, () => again());
  const many = makeChoices("How many", [6, 12, 24].map((each) => [each, String(each)]), 6, () => again());
  panel.append(
    el("div", { class: "view-tools" }, el("span", { class: "tool" }, el("span", { class: "unit" }, "Show"), many.element), filters.element, el("span", { class: "muted" }, `${index.metric.replaceAll("_", " ")} distance between embeddings; labels are those of the archive`)),
    note,
    cards,
  );

  function card(neighbour, number) {
    const frame = el("span", { class: "frame" }, index.has_signals ? el("span", { class: "muted" }, "…") : el("span", { class: "muted" }, "The signals of this archive are not served."));
    const comparing = el("button", { type: "button", class: "quiet", disabled: true, "aria-pressed": "false", "data-compare": neighbour.row }, "Compare");
    const says = `Open ${neighbour.record}, similar number ${number}, distance ${fixed(neighbour.distance, 3)}`;
    const element = el(
      "li",
      { class: "card", "data-row": neighbour.row },
      el(
        "button",
        { type: "button", class: "card-open", "aria-label": says, onclick: () => open(neighbour.row) },
        el("span", { class: "card-head" }, el("span", { class: "rank" }, String(number)), el("span", { class: "record-name" }, neighbour.record), el("span", { class: "distance", title: "distance" }, fixed(neighbour.distance, 3))),
        frame,
      ),
      el("div", { class: "card-foot" }, el("span", { class: "record-labels", title: neighbour.labels.join(" · ") }, neighbour.labels.join(" · ") || "no labels"), el("span", { class: "record-person" }, personText(neighbour)), comparing),
    );
    return { element, frame, comparing, neighbour };
  }

  async function draw(made, signal) {
    for (const { frame, comparing, neighbour } of made) {
      try {
        const answer = await get(`api/records/${neighbour.row}/signal`, {}, signal);
        frame.replaceChildren(drawMiniature(answer, `${neighbour.record}, leads II and V1`));
        comparing.disabled = false;
        comparing.addEventListener("click", () => compare(comparing.getAttribute("aria-pressed") === "true" ? null : neighbour, answer));
      } catch (error) {
        if (error.name === "AbortError") return;
        frame.replaceChildren(el("span", { class: "muted" }, "This ECG cannot be drawn."));
        if (error.status === 0) return failed(error);
      }
    }
  }

  return {
    query: () => ({ neighbours: many.value(), ...filters.value() }),
    show: (neighbours) => {
      request.abort();
      request = new AbortController();
      const made = neighbours.map((neighbour, at) => card(neighbour, at + 1));
      cards.replaceChildren(...made.map(({ element }) => element));
      note.hidden = made.length > 0;
      note.textContent = "No ECG of the archive fits these filters.";
      if (index.has_signals) draw(made, request.signal);
    },
    /** Marks which row is compared, null for none. */
    compared: (row) => {
      for (const button of cards.querySelectorAll("[data-compare]")) button.setAttribute("aria-pressed", String(Number(button.dataset.compare) === row));
    },
  };
}
