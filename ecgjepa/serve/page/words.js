// Numbers, times and the server's reasons in words that people read.

const CHANGES = {
  cropped: "only the first part is shown",
  resampled: "resampled",
  padding_removed: "padding removed",
  derived_limb_leads: "limb leads derived from two others",
};

const FLAGS = {
  flat_lead: "flat lead",
  clipped: "clipped at ±32.767 mV",
  amplitude_low: "very low amplitude",
  amplitude_high: "very high amplitude",
};

const TITLES = {
  unknown_sampling_rate: "The file does not say its sampling rate",
  unknown_unit: "The unit of the file is not known",
  unknown_leads: "The file does not name its leads",
  uncalibrated: "The file does not say its gain",
  many_records: "The file holds more than one ECG",
  unreadable: "This file cannot be read",
  unknown_format: "This is no format that is read here",
  not_an_ecg: "This is no ECG",
  malformed: "This file is damaged or not what its name says",
  short: "The recording is too short",
  flat: "There is no signal on any lead",
  too_large: "The file is too large",
  too_slow: "Reading took too long",
  unreachable: "The server cannot be reached",
  file_absent: "A file is missing",
  several_ecgs: "These files are of more than one ECG",
  no_signal: "The signal of this ECG is not served",
  no_signals: "There is no lead to read",
  no_occlusion: "What this rests on cannot be worked out",
  contradiction: "What was given contradicts the file",
  duplicate_lead: "A lead is there more than once",
  not_finite: "The signal holds values that are no numbers",
  too_long: "The recording is too long",
  wrong_parameter: "A setting is wrong",
  reader_lost: "Reading this file was broken off",
};

const ADVICE = {
  unknown_sampling_rate: "Give the sampling rate on the left and read it again.",
  unknown_unit: "Give the unit on the left and read it again.",
  unknown_leads: "Name the leads on the left, in the order of the file, and read it again.",
  uncalibrated: "Give the gain on the left and read it again.",
  many_records: "Say on the left which one, and read it again.",
  file_absent: "Choose the header and its signal file, both together.",
  several_ecgs: "Open them one after the other.",
  unreadable: "It may be empty or cut. A WFDB header goes with its signal file: choose both together.",
  unknown_format: "The formats that are read are listed under “Choose files”.",
  unreachable: "Is it still running? What is on the page stays.",
};

const BY_STATUS = {
  401: ["A token is needed", "Ask who started the server for it, and reload this page."],
  403: ["The server does not answer this page", "Open it by the address that the server printed."],
  408: ["The upload was too slow", "Try again on a faster connection."],
  413: ["The upload is too large", "Choose fewer or smaller files."],
  422: ["This ECG is refused", ""],
  429: ["The server is busy", "It was asked several times; try again in a minute."],
  503: ["The server is not ready", "It was asked several times; try again in a minute."],
};

// What the command line and Python call a setting; here it is a field.
const AS_ELSEWHERE = /, expected --[a-z-]+ \([a-z_]+=\)/;

/** A title, what was found, and what to do, for any error; `asks` is what the panel on the left asks for it. */
export function explain(problem, asks = false) {
  const found = problem.detail?.replace(AS_ELSEWHERE, "");
  const detail = found ? sentence(problem.record ? `${problem.record}: ${found}` : found[0].toUpperCase() + found.slice(1)) : "";
  const [title, advice] = TITLES[problem.reason] ? [TITLES[problem.reason], ADVICE[problem.reason]] : (BY_STATUS[problem.status] ?? []);
  if (problem.status === undefined) return { title: "The page made a mistake", detail: sentence(String(problem.message)), advice: "Reload it." };
  return { title: title ?? "The request was refused", detail, advice: asks === "again" ? "What was given on the left did not help." : (advice ?? "") };
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

export const changeText = (word) => CHANGES[word] ?? plain(word);

export function flagText(word) {
  const [name, lead] = word.split(":");
  return (FLAGS[name] ?? plain(name)) + (lead ? ` ${lead}` : "");
}

const plain = (word) => word.replaceAll("_", " ");

/** "10 s", "1:40 min", "2:03 h". */
export function duration(seconds) {
  if (seconds < 100) return `${number(seconds, 1)} s`;
  const minutes = Math.round(seconds / 60);
  if (Math.abs(seconds - minutes * 60) < 1 && minutes < 100) return `${minutes} min`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`;
  return `${Math.floor(seconds / 3600)}:${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} h`;
}

/** Which part of a recording is drawn: "10 s", "first 10 s of 30 min", "10 s from 40 s of 30 min". */
export function partText({ start_s, seconds, recording_seconds }) {
  const whole = recording_seconds === null || recording_seconds <= seconds + 0.05;
  if (whole && start_s === 0) return duration(seconds);
  const of = whole ? "" : ` of ${duration(recording_seconds)}`;
  return start_s === 0 ? `first ${duration(seconds)}${of}` : `${duration(seconds)} from ${duration(start_s)}${of}`;
}

/** Age, sex, source of a row, as far as they are known. */
export function personText({ age, sex, source }) {
  const known = [age === null ? null : `${number(age, 0)} years`, sex, source];
  return known.filter((each) => each !== null && each !== "").join(" · ");
}

/** At most so many decimals, with separators of thousands and a true minus. */
export function number(value, decimals = 2) {
  return value.toLocaleString("en-GB", { maximumFractionDigits: decimals }).replace("-", "−");
}

export const fixed = (value, decimals) => value.toFixed(decimals).replace("-", "−");

export const count = (many, one, several = `${one}s`) => `${number(many, 0)} ${many === 1 ? one : several}`;
