// Places of all rows as typed arrays, and which of them is nearest to a place.

const CELLS = 160;

/** Places of an answer, with a grid over them that makes `nearest` quick. */
export function makePoints({ x, y }) {
  const xs = Float32Array.from(x);
  const ys = Float32Array.from(y);
  const bounds = boundsOf(xs, ys);
  const cell = Math.max(bounds.width, bounds.height, 1e-9) / CELLS;
  const columnOf = (value) => Math.min(CELLS, Math.max(0, Math.floor((value - bounds.left) / cell)));
  const rowOf = (value) => Math.min(CELLS, Math.max(0, Math.floor((value - bounds.bottom) / cell)));
  const across = CELLS + 1;
  const starts = new Uint32Array(across * across + 1);
  const cells = new Uint32Array(xs.length);
  for (let at = 0; at < xs.length; at += 1) {
    cells[at] = rowOf(ys[at]) * across + columnOf(xs[at]);
    starts[cells[at] + 1] += 1;
  }
  for (let at = 1; at < starts.length; at += 1) starts[at] += starts[at - 1];
  const next = starts.slice();
  const inCells = new Uint32Array(xs.length);
  for (let at = 0; at < xs.length; at += 1) {
    inCells[next[cells[at]]] = at;
    next[cells[at]] += 1;
  }

  /** The row nearest to a place within `reach`, -1 if there is none. */
  const nearest = (atX, atY, reach) => {
    let best = -1;
    let bestSquare = reach * reach;
    for (let row = rowOf(atY - reach); row <= rowOf(atY + reach); row += 1) {
      for (let column = columnOf(atX - reach); column <= columnOf(atX + reach); column += 1) {
        for (let at = starts[row * across + column]; at < starts[row * across + column + 1]; at += 1) {
          const point = inCells[at];
          const square = (xs[point] - atX) ** 2 + (ys[point] - atY) ** 2;
          if (square < bestSquare) {
            best = point;
            bestSquare = square;
          }
        }
      }
    }
    return best;
  };
  return { xs, ys, bounds, nearest, length: xs.length };
}

function boundsOf(xs, ys) {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let at = 0; at < xs.length; at += 1) {
    if (!Number.isFinite(xs[at]) || !Number.isFinite(ys[at])) continue;
    left = Math.min(left, xs[at]);
    right = Math.max(right, xs[at]);
    bottom = Math.min(bottom, ys[at]);
    top = Math.max(top, ys[at]);
  }
  if (left > right) return { left: 0, bottom: 0, width: 1, height: 1 };
  return { left, bottom, width: right - left, height: top - bottom };
}
