// A caliper on the paper: a frame whose width is time and whose height is voltage, moved by pointer or keys.

import { svg } from "./dom.js";
import { MM_PER_S } from "./layout.js";
import { fixed, number } from "./words.js";

const STEPS_MM = { fine: 0.1, usual: 0.5, coarse: 5 };
const LEAST_PIXELS = 4;

/** What a frame of this size measures: ms, beats per minute where that makes sense, mV. */
export function measure(widthMm, heightMm, gain) {
  const milliseconds = (Math.abs(widthMm) / MM_PER_S) * 1000;
  const bpm = milliseconds >= 150 && milliseconds <= 6000 ? 60000 / milliseconds : null;
  return { milliseconds, bpm, millivolts: Math.abs(heightMm) / gain };
}

/** The same as text. */
export function measureText({ milliseconds, bpm, millivolts }) {
  const rate = bpm === null ? "" : ` (${fixed(bpm, 0)}/min)`;
  return `${number(milliseconds, 0)} ms${rate} · ${fixed(millivolts, 2)} mV`;
}

/**
 * The caliper of a sheet.
 *
 * `view` is what `makeView` made; `mayDraw(event)` says whether a drag that begins here measures; `gain()` is mm/mV;
 * `read(text)` gets what is measured, "" if nothing is.
 */
export function makeCaliper(sheet, view, { mayDraw, gain, size, read }) {
  const parts = {
    body: svg("rect", { class: "caliper-body", tabindex: 0, role: "img" }),
    edges: svg("path", { class: "caliper-edges" }),
    start: svg("circle", { class: "caliper-handle", tabindex: 0, role: "img" }),
    end: svg("circle", { class: "caliper-handle", tabindex: 0, role: "img" }),
  };
  const group = svg("g", { class: "caliper", hidden: true }, parts.body, parts.edges, parts.start, parts.end);
  let frame = null;
  let drag = null;

  const draw = () => {
    group.toggleAttribute("hidden", !frame);
    if (!frame) return read("");
    const { x0, y0, x1, y1 } = frame;
    const [left, top] = [Math.min(x0, x1), Math.min(y0, y1)];
    for (const [name, value] of Object.entries({ x: left, y: top, width: Math.abs(x1 - x0), height: Math.abs(y1 - y0) })) parts.body.setAttribute(name, value);
    const all = size();
    parts.edges.setAttribute("d", `M${x0} 0V${all.height}M${x1} 0V${all.height}M${Math.max(0, left - 4)} ${y0}H${Math.max(x0, x1) + 4}M${Math.max(0, left - 4)} ${y1}H${Math.max(x0, x1) + 4}`);
    for (const [handle, x, y] of [[parts.start, x0, y0], [parts.end, x1, y1]]) {
      handle.setAttribute("cx", x);
      handle.setAttribute("cy", y);
      handle.setAttribute("r", 5 * view.mmPerPixel());
    }
    const text = measureText(measure(x1 - x0, y1 - y0, gain()));
    parts.body.setAttribute("aria-label", `Caliper: ${text}. Arrow keys move it.`);
    parts.start.setAttribute("aria-label", `First corner of the caliper: ${text}. Arrow keys move it.`);
    parts.end.setAttribute("aria-label", `Second corner of the caliper: ${text}. Arrow keys move it.`);
    return read(text);
  };

  const moveBy = (part, x, y) => {
    const all = size();
    const inside = (value, limit) => Math.min(limit, Math.max(0, value));
    const next = { ...frame };
    if (part !== "end") Object.assign(next, { x0: inside(frame.x0 + x, all.width), y0: inside(frame.y0 + y, all.height) });
    if (part !== "start") Object.assign(next, { x1: inside(frame.x1 + x, all.width), y1: inside(frame.y1 + y, all.height) });
    const keepsSize = Math.abs(next.x1 - next.x0 - (frame.x1 - frame.x0)) + Math.abs(next.y1 - next.y0 - (frame.y1 - frame.y0)) < 1e-6;
    if (part === "body" && !keepsSize) return;
    frame = next;
    draw();
  };

  const partAt = (target) => Object.keys(parts).find((name) => parts[name] === target && name !== "edges");

  sheet.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || view.isPinching()) return;
    const part = frame && partAt(event.target);
    if (!part && !mayDraw(event)) return;
    const at = view.place(event);
    drag = { part: part ?? "new", at, from: { x: event.clientX, y: event.clientY }, before: frame };
    sheet.setPointerCapture(event.pointerId);
    if (part) parts[part].focus({ preventScroll: true });
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!drag) return;
    if (view.isPinching()) {
      frame = drag.before;
      drag = null;
      return draw();
    }
    const at = view.place(event);
    if (drag.part === "new") {
      if (Math.hypot(event.clientX - drag.from.x, event.clientY - drag.from.y) < LEAST_PIXELS) return;
      frame = { x0: drag.at.x, y0: drag.at.y, x1: at.x, y1: at.y };
      draw();
    } else {
      moveBy(drag.part, at.x - drag.at.x, at.y - drag.at.y);
      drag.at = at;
    }
  });
  for (const ended of ["pointerup", "pointercancel"]) sheet.addEventListener(ended, () => (drag = null));

  for (const name of ["body", "start", "end"]) {
    parts[name].addEventListener("keydown", (event) => {
      const step = event.shiftKey ? STEPS_MM.coarse : event.altKey ? STEPS_MM.fine : STEPS_MM.usual;
      const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      moveBy(name, ...move);
    });
  }

  return {
    element: group,
    redraw: draw,
    isThere: () => frame !== null,
    clear: () => {
      frame = null;
      draw();
    },
    /** A caliper of 1 s and 1 mV in the middle of what is seen, its second corner focused. */
    place: () => {
      const at = view.middle();
      frame = { x0: at.x - MM_PER_S / 2, y0: at.y - gain() / 2, x1: at.x + MM_PER_S / 2, y1: at.y + gain() / 2 };
      draw();
      parts.end.focus();
    },
  };
}
