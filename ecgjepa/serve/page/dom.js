// Elements in one call, HTML and SVG.

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id; its absence is our own mistake. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/** An HTML element. `on...` attributes are listeners; false, null and undefined are left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element, by the same rules. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Calls only when nothing was asked for this long. */
export function settled(milliseconds, call) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}

/** Whether a key press is meant for a field in which one writes. */
export function isWriting(event) {
  const target = event.target;
  return target instanceof HTMLElement && (target.matches("textarea, select, input:not([type=checkbox], [type=file])") || target.isContentEditable);
}
