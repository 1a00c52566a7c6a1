// A small paper: a few leads of an ECG, the whole of it in time, to be seen beside another.

import { svg } from "./dom.js";
import { ecgOf, extent, tracePath } from "./ecg.js";
import { drawGrid } from "./sheet.js";

const WANTED = ["II", "V1"];
const LEFT_MM = 2;
const GAIN = 10;
const TOP_MM = 16;
const ROW_MM = 22;
const BOTTOM_MM = 11;
const MOST_MM = 34;

/** Leads II and V1, or the first two that there are, at 25 mm/s and 10 mm/mV like the large paper. */
export function drawMiniature(signal, label) {
  const ecg = ecgOf(signal);
  const wanted = WANTED.filter((lead) => ecg.leads.has(lead));
  const leads = wanted.length ? wanted : [...ecg.leads.keys()].slice(0, WANTED.length);
  const width = Math.ceil((LEFT_MM + ecg.seconds * 25 + 2) / 5) * 5;
  const reach = leads.map((lead) => extent(ecg.leads.get(lead), 0, ecg.leads.get(lead).length));
  const room = (least, millivolts) => Math.ceil(Math.min(MOST_MM, Math.max(least, millivolts * GAIN + 2)));
  const zeros = [room(TOP_MM, reach[0].high)];
  for (let row = 1; row < leads.length; row += 1) zeros.push(zeros[row - 1] + room(ROW_MM, reach[row].high - reach[row - 1].low));
  const height = zeros.at(-1) + room(BOTTOM_MM, -reach.at(-1).low);
  const traces = leads.flatMap((lead, row) => {
    const values = ecg.leads.get(lead);
    const zero = zeros[row];
    const up = Math.min(11, Math.max(6, extent(values, 0, Math.ceil(ecg.rate * 0.4)).high * GAIN + 2));
    return [
      svg("path", { class: "trace", d: tracePath(values, ecg.rate, GAIN, zero, LEFT_MM, 0, values.length), "data-lead": lead }),
      svg("text", { class: "lead-name", x: 3, y: zero - up }, lead),
    ];
  });
  return svg("svg", { class: "miniature", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...drawGrid(width, height), ...traces);
}
