// The map as two canvases: points, painted once for a view and moved until it rests, and the marks over them.

import { drawMarks } from "./map_marks.js";
import { drawingOrder, paintPoints } from "./paint.js";
import { colour } from "./theme.js";

// Repainting every frame is fluent up to this; beyond, the painted image is moved and repainted at rest.
const QUICK_MS = 10;
const REST_MS = 90;

const radiusOf = (points, zoom) => Math.min(6, (points > 50_000 ? 1.25 : points > 10_000 ? 1.8 : points > 1_500 ? 2.6 : 3.6) * zoom ** 0.4);

/** Draws `points` through `view` into `frame`; `marks()` gives what lies over them, in pixels. */
export function makeMapCanvas(frame, view, points, marks) {
  const base = document.createElement("canvas"); // in memory: what was painted last
  const [shown, over] = ["map-points", "map-marks"].map((name) => {
    const canvas = document.createElement("canvas");
    canvas.className = name;
    frame.append(canvas);
    return canvas;
  });
  let colours = null; // {codes, styles, order}
  let only = null;
  let group = null;
  let painted = null; // the view that `base` shows
  let paintMs = 0;
  let rest = 0;
  let asked = false;

  const ratio = () => Math.min(2, devicePixelRatio || 1);

  function paint() {
    if (!colours || !base.width) return;
    const { scale, x, y } = view.now();
    const by = ratio();
    paintMs = paintPoints(base, {
      xs: points.xs,
      ys: points.ys,
      ...colours,
      view: { scale: scale * by, x: x * by, y: y * by },
      radius: radiusOf(points.length, view.zoom()) * by,
      ground: colour("--map-ground"),
      fadedColour: colour("--map-faded"),
      only,
      group,
    });
    painted = { scale, x, y };
    shown.dataset.paintMs = paintMs.toFixed(1);
  }

  function frameNow() {
    asked = false;
    if (!painted || !base.width) return;
    const began = performance.now();
    const context = shown.getContext("2d", { alpha: false });
    const { scale, x, y } = view.now();
    const moved = scale !== painted.scale || x !== painted.x || y !== painted.y;
    if (moved && paintMs < QUICK_MS) paint();
    else if (moved) {
      clearTimeout(rest);
      rest = setTimeout(() => {
        paint();
        ask();
      }, REST_MS);
    }
    const by = ratio();
    const zoom = scale / painted.scale;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colour("--map-ground");
    context.fillRect(0, 0, shown.width, shown.height);
    context.setTransform(zoom, 0, 0, zoom, (x - painted.x * zoom) * by, (y - painted.y * zoom) * by);
    context.drawImage(base, 0, 0);
    drawMarks(over, by, marks());
    shown.dataset.frameMs = (performance.now() - began).toFixed(1);
  }

  function ask() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(frameNow);
  }

  function repaint() {
    paint();
    ask();
  }

  return {
    over,
    /** Draw again: the view or the marks changed. */
    ask,
    repaint,
    setSize: (width, height) => {
      if (!width || !height) return;
      const by = ratio();
      for (const canvas of [base, shown, over]) {
        canvas.width = Math.round(width * by);
        canvas.height = Math.round(height * by);
      }
      view.setSize(width, height);
      repaint();
    },
    setColours: ({ codes, styles, below }) => {
      colours = { codes, styles, order: drawingOrder(codes, styles, below) };
      repaint();
    },
    /** Only this category, and only these rows (a Uint8Array), are not faded; null for all. */
    emphasise: (code, rows) => {
      only = code;
      group = rows;
      repaint();
    },
  };
}
