// Colours and shapes of the map: each category has both, so that neither is needed alone.

import { colour } from "./theme.js";

// Okabe and Ito (2008), as --series-0 ... of the style sheet; the eighth is ink.
const SERIES = 8;
const SHAPES = ["circle", "triangle", "square", "diamond", "cross", "wedge", "ring", "plus"];
const OTHER = "other";
// After cividis (Nunez et al. 2018), which keeps its order for every kind of colour vision; without the end that the
// ground would swallow.
const CIVIDIS = ["#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#98916f", "#b39b1f"];
const CIVIDIS_ON_DARK = ["#4667a8", "#5c7896", "#718690", "#8a9588", "#b0ab78", "#d6c063", "#fee838"];

/** "#rrggbb" -> [r, g, b]. */
export function rgb(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/**
 * What the server says of colours -> a code for each point and a style for each code.
 *
 * Returns {codes: Uint8Array, styles: [{name, colour, shape, count}], below, scale}; the last style is "not known",
 * `below` the code of "other" or -1, `scale` {low, high, unit} for numbers, which are cut into steps.
 */
export function stylesOf(answer, rows) {
  return answer.codes ? ofNames(answer, rows) : ofNumbers(answer, rows);
}

const unknown = () => ({ name: "not known", colour: colour("--faint"), shape: "ring", count: 0 });

function ofNames({ names, codes }, rows) {
  const styles = names.map((name, at) => ({
    name,
    colour: name === OTHER && at === names.length - 1 ? colour("--map-other") : colour(`--series-${at % SERIES}`),
    shape: SHAPES[at % SHAPES.length],
    count: 0,
  }));
  styles.push(unknown());
  const below = names.at(-1) === OTHER ? names.length - 1 : -1;
  return { codes: counted(rows, styles, (row) => (codes[row] < 0 ? names.length : codes[row])), styles, below, scale: null };
}

function ofNumbers({ values, unit }, rows) {
  const there = values.filter((value) => value !== null);
  const low = there.reduce((least, value) => Math.min(least, value), Infinity);
  const high = there.reduce((most, value) => Math.max(most, value), -Infinity);
  const steps = document.documentElement.dataset.theme === "dark" ? CIVIDIS_ON_DARK : CIVIDIS;
  const span = high - low || 1;
  const styles = steps.map((each, at) => ({ name: `${Math.round(low + (span * at) / steps.length)} to ${Math.round(low + (span * (at + 1)) / steps.length)}`, colour: each, shape: "circle", count: 0 }));
  styles.push(unknown());
  const step = (value) => Math.min(steps.length - 1, Math.floor(((value - low) / span) * steps.length));
  return {
    codes: counted(rows, styles, (row) => (values[row] === null ? steps.length : step(values[row]))),
    styles,
    below: -1,
    scale: there.length ? { low, high, unit: unit ?? "" } : null,
  };
}

function counted(rows, styles, codeOf) {
  const codes = new Uint8Array(rows);
  for (let row = 0; row < rows; row += 1) {
    codes[row] = codeOf(row);
    styles[codes[row]].count += 1;
  }
  return codes;
}

/** Draws a shape of this radius around (x, y) as the path of a canvas; true if it is to be stroked. */
export function traceShape(context, shape, x, y, radius) {
  const polygon = (points) => {
    for (const [at, [px, py]] of points.entries()) context[at ? "lineTo" : "moveTo"](x + px * radius, y + py * radius);
    context.closePath();
    return false;
  };
  const lines = (points) => {
    for (const [fromX, fromY, toX, toY] of points) {
      context.moveTo(x + fromX * radius, y + fromY * radius);
      context.lineTo(x + toX * radius, y + toY * radius);
    }
    return true;
  };
  if (shape === "triangle") return polygon([[0, -1.2], [1.1, 0.8], [-1.1, 0.8]]);
  if (shape === "wedge") return polygon([[0, 1.2], [1.1, -0.8], [-1.1, -0.8]]);
  if (shape === "square") return polygon([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
  if (shape === "diamond") return polygon([[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]]);
  if (shape === "cross") return lines([[-0.85, -0.85, 0.85, 0.85], [-0.85, 0.85, 0.85, -0.85]]);
  if (shape === "plus") return lines([[-1.1, 0, 1.1, 0], [0, -1.1, 0, 1.1]]);
  context.moveTo(x + radius, y);
  context.arc(x, y, radius, 0, 2 * Math.PI);
  return shape === "ring";
}
