// The map of the archive: colours, hovering, opening, and groups by lasso, view, category or filter.

import { get } from "./api.js";
import { makeChoices } from "./choices.js";
import { byId, el, settled } from "./dom.js";
import { makeFilters } from "./filters.js";
import { drawLegend } from "./legend.js";
import { makeMapCanvas } from "./map_canvas.js";
import { makeGroups } from "./map_groups.js";
import { listenToMap } from "./map_input.js";
import { makeMapView } from "./map_view.js";
import { drawMiniature } from "./miniature.js";
import { stylesOf } from "./palette.js";
import { makePoints } from "./points.js";
import { recordOf } from "./records.js";
import { onThemeChange } from "./theme.js";
import { number, personText } from "./words.js";

const REACH_PX = 12;
const toPaper = (event) => {
  event.preventDefault(); // the fragment is the row's
  byId("paper").scrollIntoView();
  byId("sheet").focus({ preventScroll: true });
};
const COLOURED_BY = ["label", "age", "sex", "source"];

/** The map, loaded when it is first shown; `open(row)`, `failed(error)`, `say(text)`. */
export function makeMap(index, { open, failed, say }) {
  const panel = byId("map");
  const frame = el("div", { class: "map-frame" });
  const tip = el("div", { class: "map-tip", hidden: true });
  const legend = el("div", { class: "map-legend" });
  const peek = el("div", { class: "peek", hidden: true });
  const state = { points: null, view: null, canvas: null, answer: null, styles: null, only: null, lasso: [], group: null, ownRow: null, place: null, neighbours: [], hovered: -1, crosshair: false };
  let loading = null;
  let lassoIsOn = false;
  let hoverRequest = new AbortController();

  if (!index?.has_map) {
    panel.append(el("p", { class: "empty" }, index ? "This index was made without a map. Made again by ecgjepa index, without --no-map, it has one." : "No archive is served."));
    const nothing = () => {};
    return { show: nothing, mark: nothing, clear: () => false, lasso: nothing, groupOfView: nothing };
  }
  const groups = makeGroups(index, { open, failed, say, changed: showGroup });

  const by = makeChoices("Colour by", COLOURED_BY.map((each) => [each, each]), "label", () => loadColours());
  const lassoButton = el("button", { type: "button", "aria-pressed": "false", "aria-keyshortcuts": "L", title: "Draw around points (L)", onclick: () => setLasso(!lassoIsOn) }, "Lasso ", el("kbd", {}, "L"));
  const viewButton = el("button", { type: "button", "aria-keyshortcuts": "G", title: "All points that are in view, as a group (G)", onclick: () => groupOfView() }, "Group in view ", el("kbd", {}, "G"));
  const filters = makeFilters(index, () => (filters.isActive() ? withoutLasso(() => groups.filtered(filters.value())) : clear()));
  const zoom = (text, title, act) => el("button", { type: "button", "aria-label": title, title, onclick: () => (act(), state.canvas?.ask()) }, text);
  panel.append(
    el(
      "div",
      { class: "view-tools" },
      el("span", { class: "tool" }, el("span", { class: "unit" }, "Colour"), by.element),
      el("span", { class: "tool" }, lassoButton, viewButton),
      filters.element,
      el("span", { class: "tool zoom" }, zoom("−", "Zoom the map out", () => state.view?.zoomBy(1 / 1.4)), zoom("+", "Zoom the map in", () => state.view?.zoomBy(1.4)), zoom("Fit", "See the whole map", () => state.view?.reset())),
    ),
    el("div", { class: "map-body" }, frame, el("div", { class: "map-side" }, peek, legend, groups.element)),
  );
  filters.element.querySelector("summary").title = "The rows that these choose are described as a group";
  async function load() {
    const loaded = makePoints(await get("api/map"));
    state.points = loaded;
    state.view = makeMapView(loaded.bounds);
    state.canvas = makeMapCanvas(frame, state.view, loaded, marks);
    const { over } = state.canvas;
    over.tabIndex = 0;
    over.setAttribute("role", "application");
    over.setAttribute("aria-label", `Map of ${number(loaded.length)} ECGs. Arrows move it, plus and minus zoom, Enter opens the point in the middle, G describes what is in view.`);
    frame.append(tip);
    listenToMap(over, { view: () => state.view, isLasso: () => lassoIsOn, moved: state.canvas.ask, pointedAt, clicked, lassoGrew, lassoClosed, focused });
    new ResizeObserver(() => state.canvas.setSize(frame.clientWidth, frame.clientHeight)).observe(frame);
    state.canvas.setSize(frame.clientWidth, frame.clientHeight);
    onThemeChange(() => state.answer && applyColours());
    await loadColours();
  }

  function focused(is) {
    state.crosshair = is;
    if (!is) pointedAt(null);
    state.canvas.ask();
  }

  async function loadColours() {
    if (!state.points) return;
    try {
      state.answer = await get("api/map/colours", { by: by.value() });
      state.only = null;
      applyColours();
    } catch (error) {
      failed(error);
    }
  }

  function applyColours() {
    state.styles = stylesOf(state.answer, state.points.length);
    state.canvas.setColours(state.styles);
    showOnly(state.only);
  }

  function showOnly(code) {
    state.only = code;
    state.canvas.emphasise(code, state.group);
    legend.replaceChildren(...drawLegend(state.styles, code, { choose: showOnly, group: groupOfCode }));
    legend.querySelector(`[data-code="${code}"]`)?.focus();
  }

  const pixelsOf = (row) => state.view.toPixels(state.points.xs[row], state.points.ys[row]);

  function marks() {
    const own = state.ownRow !== null ? pixelsOf(state.ownRow) : state.place && state.view.toPixels(...state.place);
    return {
      own,
      neighbours: state.neighbours.map(pixelsOf),
      hovered: state.hovered >= 0 ? pixelsOf(state.hovered) : null,
      lasso: state.lasso.map(([x, y]) => state.view.toPixels(x, y)),
      crosshair: state.crosshair ? [frame.clientWidth / 2, frame.clientHeight / 2] : null,
    };
  }

  const nearestTo = ([x, y]) => state.points.nearest(...state.view.toMap(x, y), REACH_PX / state.view.now().scale);

  const name = settled(90, async (row) => {
    hoverRequest.abort();
    hoverRequest = new AbortController();
    try {
      const record = await recordOf(row, hoverRequest.signal);
      if (record && state.hovered === row) showTip(row, record);
    } catch (error) {
      if (error.name !== "AbortError") tip.hidden = true;
    }
  });

  function showTip(row, record) {
    const style = state.styles?.styles[state.styles.codes[row]];
    tip.replaceChildren(el("strong", {}, record?.record ?? `row ${row}`), el("span", {}, record ? record.labels.join(" · ") || "no labels" : (style?.name ?? "")), el("span", {}, record ? personText(record) : ""));
    const [x, y] = pixelsOf(row);
    tip.hidden = false;
    tip.style.left = `${Math.min(x + 14, frame.clientWidth - tip.offsetWidth - 6)}px`;
    tip.style.top = `${y + 16 + tip.offsetHeight > frame.clientHeight ? y - tip.offsetHeight - 12 : y + 14}px`;
    if (record && state.crosshair) say(`${record.record}, ${record.labels.join(", ")}`);
  }

  function pointedAt(at) {
    const row = at && !lassoIsOn ? nearestTo(at) : -1;
    if (row === state.hovered) return;
    state.hovered = row;
    frame.classList.toggle("points-at", row >= 0);
    state.canvas.ask();
    if (row < 0) tip.hidden = true;
    else {
      showTip(row, null);
      name(row);
    }
  }

  function clicked(at) {
    const row = nearestTo(at);
    if (row >= 0) open(row);
  }

  function setLasso(is) {
    lassoIsOn = is;
    lassoButton.setAttribute("aria-pressed", String(is));
    frame.classList.toggle("lassos", is);
    if (is) say("Lasso: drag around the points.");
  }

  function lassoGrew(points) {
    state.lasso = points.map(([x, y]) => state.view.toMap(x, y));
    state.canvas.ask();
  }

  function lassoClosed(points) {
    lassoGrew(points);
    if (points.length < 3) return lassoGrew([]);
    setLasso(false);
    return groups.inside(state.lasso);
  }

  function showGroup(rows) {
    state.group = rows && new Uint8Array(state.points.length);
    for (const row of rows ?? []) state.group[row] = 1;
    state.canvas?.emphasise(state.only, state.group);
  }

  function withoutLasso(act) {
    if (!state.view) return;
    setLasso(false);
    lassoGrew([]);
    act();
  }

  const groupOfView = () => withoutLasso(() => groups.inside(state.view.corners()));

  function groupOfCode(code) {
    const rows = [];
    for (const [row, each] of state.styles.codes.entries()) if (each === code) rows.push(row);
    withoutLasso(() => groups.of(rows));
  }

  /** Forgets lasso and group; whether there was one. */
  function clear() {
    const was = lassoIsOn || state.lasso.length > 0;
    setLasso(false);
    state.lasso = [];
    return groups.clear() || was;
  }

  return {
    show: async () => {
      loading ??= load();
      try {
        await loading;
      } catch (error) {
        loading = null;
        failed(error);
      }
    },
    /** Marks the ECG that is open (its row, or else its place) and its neighbours; a small paper of it stands beside. */
    mark: (row, { record, place, called, neighbours }, signal) => {
      Object.assign(state, { ownRow: row, place, neighbours: neighbours.map((each) => each.row) });
      if (signal !== undefined) {
        const says = called.length ? `called ${called.join(", ")}` : "open on the paper";
        peek.hidden = !signal;
        peek.replaceChildren(...(signal ? [el("a", { href: "#paper", onclick: toPaper }, el("span", { class: "record-name" }, record), el("span", { class: "muted" }, says), drawMiniature(signal, `${record}, leads II and V1`))] : []));
      }
      state.canvas?.ask();
    },
    clear,
    lasso: () => setLasso(!lassoIsOn),
    groupOfView,
  };
}
