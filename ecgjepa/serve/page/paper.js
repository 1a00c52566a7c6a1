// The ECG on paper: layout, gain, zoom, caliper, shading, and a second ECG to compare with.

import { makeCaliper } from "./caliper.js";
import { makeChoices } from "./choices.js";
import { byId, el, svg } from "./dom.js";
import { ecgOf, hasTwelve } from "./ecg.js";
import { layOut } from "./layout.js";
import { shade, shadingLegend } from "./shading.js";
import { drawGrid, drawSheet } from "./sheet.js";
import { makeView } from "./view.js";
import { changeText, flagText, partText } from "./words.js";

const BETWEEN_MM = 6;
const EMPTY = { width: 270, height: 130 };

/** The paper panel for what `about` says is served; `shadingOff()` is called when the shading is turned off here. */
export function makePaper({ encoder, index }, { shadingOff, comparisonClosed }) {
  const sheet = byId("sheet");
  const readout = byId("readout");
  const zoomText = el("span", { class: "zoom-text", "aria-live": "off" }, "100%");
  let shown = null; // {ecg, signal}
  let other = null; // {ecg, title}
  let occlusion = null;
  let layout = null;
  let panWithSpace = false;

  const tool = makeChoices("What dragging does", [["measure", "Caliper", "Dragging measures (V)"], ["move", "Move", "Dragging moves the paper (V)"]], "measure", () =>
    sheet.classList.toggle("moves", tool.value() === "move"),
  );
  const rows = makeChoices("Layout", [["standard", "3 × 4", "Three rows of four, lead II below (R)"], ["rows", "Rows", "All leads, a row each (R)"]], "standard", () => draw());
  const gain = makeChoices("Gain in mm/mV", [5, 10, 20].map((mm) => [mm, String(mm), `${mm} mm/mV`]), 10, () => draw());
  const how = makeChoices("How to compare", [["overlay", "Overlay"], ["below", "Below"]], "overlay", () => draw());

  const pans = (event) => tool.value() === "move" || panWithSpace || event.button === 1;
  const view = makeView(sheet, {
    mayPan: pans,
    changed: (zoom) => {
      zoomText.textContent = `${Math.round(zoom * 100)}%`;
      caliper?.redraw();
    },
  });
  let caliper = null;
  caliper = makeCaliper(sheet, view, {
    mayDraw: (event) => shown && !pans(event),
    gain: () => gain.value(),
    size: () => ({ width: layout.width, height: sheetHeight() }),
    read: (text) => {
      readout.hidden = !text;
      readout.textContent = text;
    },
  });

  const small = (text, title, keys, onclick) => el("button", { type: "button", title, "aria-label": title, "aria-keyshortcuts": keys, onclick }, text);
  byId("paper-tools").append(
    el("span", { class: "tool" }, rows.element),
    el("span", { class: "tool" }, gain.element, el("span", { class: "unit" }, "mm/mV")),
    el("span", { class: "tool" }, tool.element),
    el("span", { class: "tool zoom" }, small("−", "Zoom out", "-", view.zoomOut), zoomText, small("+", "Zoom in", "+", view.zoomIn), small("Fit", "See all of it", "0", view.reset)),
  );

  const isBelow = () => other && how.value() === "below";
  const sheetHeight = () => layout.height * (isBelow() ? 2 : 1) + (isBelow() ? BETWEEN_MM : 0);

  function draw() {
    if (!shown) return;
    const ecgs = other ? [shown.ecg, other.ecg] : [shown.ecg];
    rows.element.hidden = !hasTwelve(shown.ecg);
    layout = layOut(ecgs, gain.value(), rows.value() === "rows");
    const first = drawSheet(layout, isBelow() ? [shown.ecg] : ecgs, gain.value());
    const drawn = [first];
    if (isBelow()) drawn.push(svg("g", { class: "second-sheet", transform: `translate(0 ${layout.height + BETWEEN_MM})` }, drawSheet(layout, [other.ecg], gain.value())));
    shade(first, layout, occlusion);
    sheet.replaceChildren(...drawn, caliper.element);
    sheet.setAttribute("aria-label", `ECG ${shown.signal.record}, ${[...shown.ecg.leads.keys()].length} leads, ${partText(shown.signal)}. C places a caliper.`);
    view.setSize(layout.width, sheetHeight());
    caliper.redraw();
  }

  function drawEmpty(text) {
    layout = EMPTY;
    sheet.removeAttribute("tabindex");
    sheet.replaceChildren(...drawGrid(layout.width, layout.height), caliper.element);
    sheet.setAttribute("aria-label", "Empty paper");
    view.setSize(layout.width, layout.height);
    byId("welcome").hidden = false;
    byId("welcome").replaceChildren(el("p", {}, text));
  }

  function showLegend() {
    const legend = byId("shading-legend");
    legend.hidden = !occlusion;
    legend.replaceChildren(...(occlusion ? shadingLegend(occlusion, shadingOff) : []));
  }

  function showComparison() {
    const bar = byId("compared");
    bar.hidden = !other;
    if (!other) return bar.replaceChildren();
    return bar.replaceChildren(
      el("span", { class: "key first" }, shown.signal.record),
      el("span", { class: "key second" }, other.title),
      how.element,
      el("button", { type: "button", class: "quiet", onclick: comparisonClosed }, "Stop comparing"),
    );
  }

  sheet.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target === sheet) {
      panWithSpace = true;
      event.preventDefault();
    }
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (!step || !sheet.classList.contains("zoomed")) return;
    event.preventDefault();
    view.panBy(...step);
  });
  sheet.addEventListener("keyup", (event) => (panWithSpace = event.key === " " ? false : panWithSpace));
  sheet.addEventListener("blur", () => (panWithSpace = false));

  drawEmpty(index ? "Open a file, or choose a record of the archive." : "Open a file.");
  return {
    view,
    placeCaliper: () => shown && caliper.place(),
    clearCaliper: () => {
      const was = caliper.isThere();
      caliper.clear();
      return was;
    },
    switchTool: () => {
      tool.set(tool.value() === "measure" ? "move" : "measure", true);
    },
    switchLayout: () => rows.set(rows.value() === "rows" ? "standard" : "rows", true),
    /** Draws an answer's signal, or says that there is none; `about` is a line of words on it. */
    show: (record, signal, about) => {
      caliper.clear();
      shown = signal && { signal, ecg: ecgOf(signal) };
      byId("paper-title").textContent = record;
      byId("paper-facts").replaceChildren(...(signal ? factsOf(signal, about, encoder.leads) : [about]));
      byId("paper-tools").hidden = !signal;
      if (!signal) return drawEmpty("The signal of this ECG is not served, so it cannot be drawn.");
      byId("welcome").hidden = true;
      sheet.setAttribute("tabindex", "0");
      showComparison();
      draw();
      return view.reset();
    },
    /** Shades what a class rests on, nothing where null. */
    shadeBy: (answer) => {
      occlusion = answer;
      showLegend();
      if (shown) shade(sheet.querySelector(".ecg"), layout, occlusion);
    },
    /** Draws a second ECG, nothing where null. */
    compareWith: (signal, title) => {
      if (!shown) return;
      other = signal ? { ecg: ecgOf(signal), title } : null;
      showComparison();
      draw();
    },
  };
}

function factsOf(signal, about, encoderLeads) {
  const missing = encoderLeads.filter((lead) => !signal.leads.includes(lead));
  const notes = [...signal.changes.map((word) => [changeText(word), "change"]), ...signal.flags.map((word) => [flagText(word), "flag"])];
  if (missing.length) notes.unshift([`the encoder gets ${signal.leads.length} of its ${encoderLeads.length} leads: no ${missing.join(", ")}`, "flag"]);
  const windows = signal.windows > 1 ? ` · embedding of ${signal.windows} windows` : "";
  return [
    el("span", {}, [about, partText(signal) + windows].filter(Boolean).join(" · ")),
    ...notes.map(([text, kind]) => el("span", { class: `mark ${kind}` }, kind === "flag" ? `⚠ ${text}` : text)),
  ];
}
