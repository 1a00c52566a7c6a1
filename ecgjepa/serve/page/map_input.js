// Pointer and keys on the map: drag moves it, or draws a lasso; a click opens; a wheel or two fingers zoom.

const CLICK_PX = 5;
const LASSO_STEP_PX = 3;
const KEY_PAN_PX = 48;
const ZOOM_STEP = 1.4;

/**
 * Listens on the canvas of the map.
 *
 * `view()` is what `makeMapView` made; `isLasso()` says whether dragging draws; what happens is told to `moved()`,
 * `pointedAt([x, y] or null)`, `clicked([x, y])`, `lassoGrew(points)`, `lassoClosed(points)` and `focused(is)`.
 */
export function listenToMap(canvas, { view, isLasso, moved, pointedAt, clicked, lassoGrew, lassoClosed, focused }) {
  const pointers = new Map();
  let drag = null;

  const placeOf = (event) => {
    const frame = canvas.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  };
  const far = ([x, y], [otherX, otherY]) => Math.hypot(x - otherX, y - otherY);

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    const at = placeOf(event);
    pointers.set(event.pointerId, at);
    canvas.setPointerCapture(event.pointerId);
    if (pointers.size > 1) {
      if (drag?.lasso) lassoGrew([]);
      drag = null;
      return;
    }
    drag = { began: at, last: at, lasso: isLasso() && event.button === 0 ? [at] : null, isClick: true };
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = placeOf(event);
    const before = pointers.get(event.pointerId);
    if (!before) return pointedAt(at);
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      view().zoomBy(far(at, other) / Math.max(1, far(before, other)), ...other);
      moved();
    } else if (drag) {
      drag.isClick &&= far(at, drag.began) < CLICK_PX;
      if (drag.lasso && far(at, drag.lasso.at(-1)) >= LASSO_STEP_PX) {
        drag.lasso.push(at);
        lassoGrew(drag.lasso);
      } else if (!drag.lasso && !drag.isClick) {
        view().panBy(at[0] - drag.last[0], at[1] - drag.last[1]);
        moved();
      }
      drag.last = at;
    }
    pointers.set(event.pointerId, at);
    return undefined;
  });
  canvas.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    const ended = drag;
    drag = null;
    if (!ended) return;
    if (ended.isClick) clicked(placeOf(event));
    else if (ended.lasso) lassoClosed(ended.lasso);
  });
  canvas.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    if (drag?.lasso) lassoGrew([]);
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => pointers.size === 0 && pointedAt(null));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      view().zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0022)), ...placeOf(event));
      moved();
    },
    { passive: false },
  );

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? KEY_PAN_PX / 4 : KEY_PAN_PX;
    const middle = [canvas.clientWidth / 2, canvas.clientHeight / 2];
    const actions = {
      ArrowLeft: () => view().panBy(step, 0),
      ArrowRight: () => view().panBy(-step, 0),
      ArrowUp: () => view().panBy(0, step),
      ArrowDown: () => view().panBy(0, -step),
      "+": () => view().zoomBy(ZOOM_STEP),
      "=": () => view().zoomBy(ZOOM_STEP),
      "-": () => view().zoomBy(1 / ZOOM_STEP),
      0: () => view().reset(),
      Enter: () => clicked(middle),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
    if (event.key === "Enter") return;
    moved();
    pointedAt(middle);
  });
  canvas.addEventListener("focus", () => focused(canvas.matches(":focus-visible")));
  canvas.addEventListener("blur", () => focused(false));
  return { zoomStep: ZOOM_STEP };
}
