// What is drawn over the points of the map: the ECG that is open, its neighbours, what is pointed at, the lasso.

import { colour } from "./theme.js";

const RING = 8;

/** Draws all marks on a canvas that is as large as the map; `ratio` is pixels of the screen per pixel. */
export function drawMarks(canvas, ratio, { own, neighbours, hovered, lasso, crosshair }) {
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const ink = colour("--ink");
  const ground = colour("--map-ground");
  const accent = colour("--accent");
  const halo = (path, width, stroke) => {
    context.beginPath();
    path();
    context.lineWidth = width + 3;
    context.strokeStyle = ground;
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = stroke;
    context.stroke();
  };
  const write = (text, x, y, fill) => {
    context.font = "600 11px system-ui, sans-serif";
    context.textBaseline = "middle";
    context.lineWidth = 3.5;
    context.lineJoin = "round";
    context.strokeStyle = ground;
    context.strokeText(text, x, y);
    context.fillStyle = fill;
    context.fillText(text, x, y);
  };

  for (const [at, [x, y]] of neighbours.entries()) {
    halo(() => context.arc(x, y, RING - 2, 0, 2 * Math.PI), 1.5, ink);
    write(String(at + 1), x + RING, y - RING, ink);
  }
  if (own) {
    const [x, y] = own;
    halo(() => {
      context.moveTo(x + RING + 1, y);
      context.arc(x, y, RING + 1, 0, 2 * Math.PI);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * (RING - 3), y + dy * (RING - 3));
        context.lineTo(x + dx * (RING + 7), y + dy * (RING + 7));
      }
    }, 2.5, accent);
    write("this ECG", x + RING + 10, y + RING + 4, accent);
  }
  if (hovered) halo(() => context.arc(...hovered, RING - 1, 0, 2 * Math.PI), 2, ink);
  if (crosshair) {
    const [x, y] = crosshair;
    halo(() => {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + dx * 5, y + dy * 5);
        context.lineTo(x + dx * 14, y + dy * 14);
      }
    }, 1.25, ink);
  }
  if (lasso.length > 1) {
    context.beginPath();
    for (const [at, [x, y]] of lasso.entries()) context[at ? "lineTo" : "moveTo"](x, y);
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = accent;
    context.fill();
    context.globalAlpha = 1;
    context.setLineDash([6, 4]);
    context.lineWidth = 1.75;
    context.strokeStyle = accent;
    context.stroke();
    context.setLineDash([]);
  }
}
