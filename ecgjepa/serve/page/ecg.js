// An answer's signal -> leads in their usual order, each around its median, with gaps.

export const STANDARD = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];

/** {record, rate, seconds, leads: Map of name -> Float64Array in mV around its median, NaN is a gap}. */
export function ecgOf(signal) {
  const all = { ...signal.signal_mv, ...signal.derived_mv };
  const names = [...STANDARD.filter((name) => name in all), ...Object.keys(all).filter((name) => !STANDARD.includes(name))];
  const leads = new Map(names.map((name) => [name, centred(all[name])]));
  return { record: signal.record, rate: signal.sampling_rate_hz, seconds: signal.seconds, leads, derived: new Set(Object.keys(signal.derived_mv)) };
}

function centred(values) {
  const lead = Float64Array.from(values, (value) => (value === null ? NaN : value));
  const there = lead.filter((value) => !Number.isNaN(value)).sort();
  if (!there.length) return lead;
  const middle = there.length >> 1;
  const median = there.length % 2 ? there[middle] : (there[middle - 1] + there[middle]) / 2;
  return lead.map((value) => value - median);
}

/** Whether all twelve leads are there, so that they can stand in columns. */
export const hasTwelve = (ecg) => STANDARD.every((lead) => ecg.leads.has(lead));

/** Least and largest of a part, 0 among them. */
export function extent(lead, start, end) {
  let low = 0;
  let high = 0;
  for (let at = start; at < end; at += 1) {
    if (lead[at] < low) low = lead[at];
    else if (lead[at] > high) high = lead[at];
  }
  return { low, high };
}

export function isEmpty(lead, start = 0, end = lead.length) {
  for (let at = start; at < end; at += 1) if (!Number.isNaN(lead[at])) return false;
  return true;
}

/** Path of the samples `start` to `end`, in mm from the place where sample 0 would stand on the zero line. */
export function tracePath(lead, rate, gain, zeroMm, leftMm, start, end, mmPerS = 25) {
  const parts = [];
  let isDown = false;
  for (let at = start; at < end; at += 1) {
    if (Number.isNaN(lead[at])) {
      isDown = false;
      continue;
    }
    parts.push(`${isDown ? "L" : "M"}${(leftMm + (at / rate) * mmPerS).toFixed(2)} ${(zeroMm - lead[at] * gain).toFixed(2)}`);
    isDown = true;
  }
  return parts.join("");
}
