// Many points -> pixels: each point is a stamp of its shape, blended into an image in memory.

import { rgb, traceShape } from "./palette.js";

const OPAQUE = 0.82;
const FADED = 0.2;

/** How much of each pixel a shape of this radius covers, 0 to 1. */
function stampOf(shape, radius) {
  const size = 2 * Math.ceil(radius * 1.35 + 1) + 1;
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.beginPath();
  context.lineWidth = Math.max(1, radius * 0.55);
  if (traceShape(context, shape, size / 2, size / 2, radius)) context.stroke();
  else context.fill();
  const { data } = context.getImageData(0, 0, size, size);
  return { size, cover: Float32Array.from({ length: size * size }, (_, at) => data[4 * at + 3] / 255) };
}

/**
 * Order in which points are drawn: what is not known first, then "other", then all named in an order that mixes them,
 * so that no category hides another.
 */
export function drawingOrder(codes, styles, lastBelow) {
  const stride = strideOf(codes.length);
  const levels = [[], [], []];
  for (let at = 0, row = 0; at < codes.length; at += 1, row = (row + stride) % codes.length) {
    const code = codes[row];
    levels[code === styles.length - 1 ? 0 : code === lastBelow ? 1 : 2].push(row);
  }
  return Uint32Array.from(levels.flat());
}

/** A step that visits all of so many, far apart: near the golden section, and coprime. */
function strideOf(many) {
  let stride = Math.max(1, Math.round(many * 0.618));
  const divisor = (one, two) => (two ? divisor(two, one % two) : one);
  while (many > 1 && divisor(stride, many) !== 1) stride += 1;
  return stride;
}

/**
 * Paints all points into a canvas of the size that it has; returns the milliseconds that it took.
 *
 * `view` is {scale, x, y}: a point stands at (x + scale * its x, y - scale * its y) in pixels of the canvas. Points whose
 * code is not `only` (where that is set), or that are not in `group` (where that is set), are faded.
 */
export function paintPoints(canvas, { xs, ys, codes, styles, order, view, radius, ground, fadedColour, only, group }) {
  const began = performance.now();
  const { width, height } = canvas;
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  const pixels = image.data;
  const stamps = styles.map(({ shape }) => stampOf(shape, radius));
  const colours = styles.map(({ colour }) => rgb(colour));
  const grey = rgb(fadedColour);

  const pass = (wantsFaded) => {
    const strength = wantsFaded ? FADED : OPAQUE;
    for (let at = 0; at < order.length; at += 1) {
      const row = order[at];
      const code = codes[row];
      const faded = (only !== null && code !== only) || (group !== null && group[row] === 0);
      if (faded !== wantsFaded) continue;
      const { size, cover } = stamps[code];
      const left = Math.round(view.x + view.scale * xs[row]) - (size >> 1);
      const top = Math.round(view.y - view.scale * ys[row]) - (size >> 1);
      if (left < 0 || top < 0 || left + size > width || top + size > height) continue;
      const [r, g, b] = wantsFaded ? grey : colours[code];
      for (let y = 0; y < size; y += 1) {
        let pixel = 4 * ((top + y) * width + left);
        for (let x = 0; x < size; x += 1, pixel += 4) {
          const alpha = cover[y * size + x] * strength;
          if (alpha === 0) continue;
          pixels[pixel] += (r - pixels[pixel]) * alpha;
          pixels[pixel + 1] += (g - pixels[pixel + 1]) * alpha;
          pixels[pixel + 2] += (b - pixels[pixel + 2]) * alpha;
        }
      }
    }
  };
  if (only !== null || group !== null) pass(true);
  pass(false);
  context.putImageData(image, 0, 0);
  return performance.now() - began;
}
