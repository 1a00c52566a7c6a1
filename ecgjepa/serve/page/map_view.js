// From places of the map to pixels of its canvas: fit, zoom, pan.

const MARGIN = 24;
const MAX_ZOOM = 60;

/** The view of a map with these bounds; all pixels are those of the style sheet. */
export function makeMapView(bounds) {
  let size = { width: 1, height: 1 };
  let fit = { scale: 1, x: 0, y: 0 };
  let now = { ...fit };

  const refit = () => {
    const scale = Math.min((size.width - 2 * MARGIN) / (bounds.width || 1), (size.height - 2 * MARGIN) / (bounds.height || 1));
    fit = { scale, x: size.width / 2 - scale * (bounds.left + bounds.width / 2), y: size.height / 2 + scale * (bounds.bottom + bounds.height / 2) };
  };
  const toPixels = (x, y) => [now.x + now.scale * x, now.y - now.scale * y];
  const toMap = (x, y) => [(x - now.x) / now.scale, (now.y - y) / now.scale];

  return {
    toPixels,
    toMap,
    now: () => now,
    zoom: () => now.scale / fit.scale,
    zoomBy: (factor, x = size.width / 2, y = size.height / 2) => {
      const scale = Math.min(fit.scale * MAX_ZOOM, Math.max(fit.scale * 0.8, now.scale * factor));
      const ratio = scale / now.scale;
      now = { scale, x: x - (x - now.x) * ratio, y: y - (y - now.y) * ratio };
    },
    panBy: (x, y) => {
      now = { ...now, x: now.x + x, y: now.y + y };
    },
    reset: () => {
      now = { ...fit };
    },
    /** The frame as a polygon of the map. */
    corners: () => [[0, 0], [size.width, 0], [size.width, size.height], [0, size.height]].map(([x, y]) => toMap(x, y)),
    /** Another size keeps the middle and the zoom. */
    setSize: (width, height) => {
      const zoom = now.scale / fit.scale;
      const middle = toMap(size.width / 2, size.height / 2);
      const isFirst = size.width === 1;
      size = { width, height };
      refit();
      if (isFirst) now = { ...fit };
      else {
        const scale = fit.scale * zoom;
        now = { scale, x: width / 2 - scale * middle[0], y: height / 2 + scale * middle[1] };
      }
    },
  };
}
