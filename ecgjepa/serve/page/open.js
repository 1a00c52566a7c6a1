// Files from the disk: picker, drop, and the fields for what the files do not say.

import { byId, el } from "./dom.js";
import { number } from "./words.js";

const UNITS = ["mV", "uV", "V", "nV", "adc"];
// Which fields a refusal asks for.
const ASKED_BY = {
  unknown_sampling_rate: ["sampling_rate_hz"],
  unknown_unit: ["unit", "gain_per_mv"],
  unknown_leads: ["leads"],
  uncalibrated: ["unit", "gain_per_mv"],
  many_records: ["row"],
};

/** The panel that takes files; `open(files, fields)` sends them. */
export function makeOpen(about, { open, failed }) {
  const picker = byId("files");
  const form = byId("hints");
  const curtain = byId("drop-curtain");
  let kept = [];
  let sent = {};
  let depth = 0;

  const inputs = {
    row: el("input", { type: "number", min: 0, step: 1, inputmode: "numeric" }),
    sampling_rate_hz: el("input", { type: "number", min: 50, max: 20000, step: "any", inputmode: "decimal", placeholder: "500" }),
    leads: el("input", { type: "text", placeholder: "I,II,III,aVR,aVL,aVF,V1,…", spellcheck: "false" }),
    unit: el("select", {}, el("option", { value: "" }, "as the file says"), ...UNITS.map((unit) => el("option", { value: unit }, unit === "adc" ? "adc (counts)" : unit))),
    gain_per_mv: el("input", { type: "number", min: 0, step: "any", inputmode: "decimal", placeholder: "counts, for adc only" }),
  };
  const names = { row: "ECG of the file, from 0", sampling_rate_hz: "Sampling rate, Hz", leads: "Leads, in their order", unit: "Unit", gain_per_mv: "Gain, per mV" };
  const rows = Object.fromEntries(
    Object.entries(inputs).map(([name, input]) => {
      input.id = `hint-${name}`;
      input.name = name;
      return [name, el("div", { class: "field" }, el("label", { for: input.id }, names[name]), input)];
    }),
  );
  const title = el("p", { class: "hints-title" });
  form.append(title, ...Object.values(rows), el("button", { type: "submit", class: "primary" }, "Read again"));

  byId("open-help").append(` At most ${number(about.max_upload_bytes / 2 ** 20, 0)} MiB of`, el("span", { class: "formats" }, about.formats.join(" ")));

  const fields = () => Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value.trim()]));

  function take(files) {
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    if (!files.length) return;
    if (files.length > about.max_files || bytes > about.max_upload_bytes) {
      failed({ status: 413, reason: "too_large", detail: `${files.length} files of ${number(bytes / 2 ** 20, 1)} MiB in all, at most ${about.max_files} files of ${number(about.max_upload_bytes / 2 ** 20, 0)} MiB` });
      return;
    }
    kept = files;
    for (const input of Object.values(inputs)) input.value = "";
    form.hidden = true;
    sent = {};
    open(kept, sent);
  }

  picker.addEventListener("change", () => {
    take([...picker.files]);
    picker.value = ""; // so that the same file can be chosen again
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sent = fields();
    open(kept, sent);
  });

  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    curtain.hidden = false;
  });
  addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    curtain.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    depth = 0;
    curtain.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });

  return {
    choose: () => picker.click(),
    /** Shows the fields that a refusal asks for; whether it asks for any, "again" if what was given did not help. */
    ask: (problem) => {
      const wanted = ASKED_BY[problem.reason];
      if (!wanted || !kept.length) return false;
      const before = form.hidden ? [] : Object.keys(rows).filter((name) => !rows[name].hidden);
      for (const [name, row] of Object.entries(rows)) row.hidden = !wanted.includes(name) && !before.includes(name);
      title.textContent = kept.map((file) => file.name).join(", ");
      form.hidden = false;
      inputs[wanted[0]].focus();
      return sent[wanted[0]] ? "again" : true;
    },
    done: () => (form.hidden = true),
  };
}
