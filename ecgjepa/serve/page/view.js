// The part of a drawing that is seen: zoom by wheel, pinch and buttons, pan by dragging; all through the viewBox.

const MAX_ZOOM = 16;
const STEP = 1.35;
// A grid whose lines stand closer than this would hide the paper.
const DENSE_MM_PER_PIXEL = 0.42;

/**
 * Zoom and pan of an SVG element.
 *
 * `mayPan(event)` says whether a drag that begins here moves the drawing; `changed(zoom)` is called after each change.
 */
export function makeView(element, { mayPan, changed }) {
  let full = { width: 1, height: 1 };
  let box = { x: 0, y: 0, width: 1, height: 1 };
  const pointers = new Map();

  const apply = () => {
    box.width = Math.min(full.width, Math.max(full.width / MAX_ZOOM, box.width));
    box.height = (box.width * full.height) / full.width;
    box.x = Math.min(full.width - box.width, Math.max(0, box.x));
    box.y = Math.min(full.height - box.height, Math.max(0, box.y));
    element.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
    element.classList.toggle("zoomed", box.width < full.width * 0.999);
    element.classList.toggle("dense", mmPerPixel() > DENSE_MM_PER_PIXEL);
    changed(full.width / box.width);
  };
  const mmPerPixel = () => box.width / (element.getBoundingClientRect().width || 1);

  /** Where a pointer is, in mm of the drawing. */
  const place = ({ clientX, clientY }) => {
    const frame = element.getBoundingClientRect();
    return { x: box.x + ((clientX - frame.left) / frame.width) * box.width, y: box.y + ((clientY - frame.top) / frame.height) * box.height };
  };
  const middle = () => ({ x: box.x + box.width / 2, y: box.y + box.height / 2 });

  const zoomBy = (factor, at = middle()) => {
    const width = Math.min(full.width, Math.max(full.width / MAX_ZOOM, box.width / factor));
    const ratio = width / box.width;
    box = { x: at.x - (at.x - box.x) * ratio, y: at.y - (at.y - box.y) * ratio, width, height: box.height * ratio };
    apply();
  };
  const panBy = (x, y) => {
    box.x += x * box.width;
    box.y += y * box.height;
    apply();
  };

  element.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY * 0.0035), place(event));
    },
    { passive: false },
  );
  element.addEventListener("pointerdown", (event) => {
    if (pointers.size === 0 && !mayPan(event) && event.pointerType !== "touch") return;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, pans: mayPan(event) });
    if (mayPan(event)) element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = { ...before, x: event.clientX, y: event.clientY };
    const frame = element.getBoundingClientRect();
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, each]) => each);
      const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      zoomBy(factor, place({ clientX: other.x, clientY: other.y }));
    } else if (before.pans) {
      panBy(-(now.x - before.x) / frame.width, -(now.y - before.y) / frame.height);
    }
    pointers.set(event.pointerId, now);
  });
  for (const ended of ["pointerup", "pointercancel"]) element.addEventListener(ended, (event) => pointers.delete(event.pointerId));

  new ResizeObserver(apply).observe(element);

  return {
    place,
    middle,
    zoomIn: () => zoomBy(STEP),
    zoomOut: () => zoomBy(1 / STEP),
    panBy,
    isPinching: () => pointers.size > 1,
    mmPerPixel,
    reset: () => {
      box = { x: 0, y: 0, ...full };
      apply();
    },
    /** A drawing of another size is seen whole; one of the same size stays as it is. */
    setSize: (width, height) => {
      const same = full.width === width && full.height === height;
      full = { width, height };
      element.style.aspectRatio = `${width} / ${height}`;
      if (!same) box = { x: 0, y: 0, width, height };
      apply();
    },
  };
}
