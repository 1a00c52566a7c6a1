// The page: what is open, what is asked of the server for it, and which panel shows which part of the answer.

import { configure, get, postFiles, takeTokenFromAddress } from "./api.js";
import { makeArchive } from "./archive.js";
import { makeClasses } from "./classes.js";
import { byId } from "./dom.js";
import { askForToken, makeTabs, showServed } from "./frame.js";
import { startKeys } from "./keys.js";
import { makeMap } from "./map.js";
import { makeOpen } from "./open.js";
import { makePaper } from "./paper.js";
import { forgetProblem, say, showProblem } from "./problems.js";
import { recordOf } from "./records.js";
import { makeSimilar } from "./similar.js";
import { startTheme } from "./theme.js";
import { count, personText } from "./words.js";

takeTokenFromAddress();
configure({ forToken: askForToken, waiting: (seconds) => say(`The server is busy; trying again in ${seconds} s.`) });
const switchTheme = startTheme();
start().catch(showProblem);

async function start() {
  const about = await get("api/about");
  showServed(about);

  let source = null; // {row} or {files, fields}
  let opening = new AbortController();
  let looking = new AbortController();
  let occluding = null;
  let shaded = null;

  const paper = makePaper(about, { shadingOff: () => explainClass(null), comparisonClosed: () => compare(null) });
  const classes = makeClasses({ explainClass });
  const similar = makeSimilar(about.index, { again: findAgain, open: openRow, compare, failed: showProblem });
  const map = makeMap(about.index, { open: openRow, failed: showProblem, say });
  const archive = about.index ? makeArchive(about.index, { open: openRow, failed: showProblem }) : null;
  const opener = makeOpen(about, { open: openFiles, failed: showProblem });
  const tabs = makeTabs({ map: () => map.show() });
  classes.describe(about.classifier);
  let comparison = null;

  /** Asks for an analysis of what is open: a row by its number, files by sending them again. */
  function analyse({ row, files, fields }, query, signal) {
    return row === undefined ? postFiles("api/ecgs", files, { ...fields, ...query }, signal) : get(`api/records/${row}`, query, signal);
  }

  async function openSource(next, name) {
    opening.abort();
    looking.abort();
    occluding?.abort();
    opening = new AbortController();
    const mine = opening;
    byId("busy").hidden = false;
    byId("busy").textContent = `Reading ${name} …`;
    forgetProblem();
    try {
      const answer = await analyse(next, { ...similar.query(), embedding: false }, mine.signal);
      const row = next.row === undefined ? null : await recordOf(next.row, mine.signal);
      source = next;
      showAnalysis(answer, answer.signal, row);
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      const asks = next.files && opener.ask(error);
      showProblem(error, asks);
      return false;
    } finally {
      if (opening === mine) byId("busy").hidden = true;
    }
  }

  function showAnalysis(answer, signal, row) {
    compare(null);
    setShading(null);
    paper.show(answer.record, signal, row ? [personText(row), row.labels.join(" · ")].filter(Boolean).join(" · ") : "");
    classes.show(answer);
    showNeighbours(answer, signal);
    archive?.mark(source.row ?? null);
    opener.done();
    document.title = `${answer.record} · ecgjepa`;
    const called = answer.called.length ? `Called: ${answer.called.join(", ")}.` : "";
    say(`${answer.record} is open. ${called}`);
  }

  /** Without `signal`: other neighbours of the same ECG. */
  function showNeighbours(answer, signal = undefined) {
    similar.show(answer.neighbours);
    map.mark(source.row ?? null, answer, signal);
    tabs.note("similar", answer.neighbours.length || "");
  }

  async function findAgain() {
    if (!source) return;
    looking.abort();
    looking = new AbortController();
    try {
      showNeighbours(await analyse(source, { ...similar.query(), signal: false, embedding: false }, looking.signal));
    } catch (error) {
      if (error.name !== "AbortError") showProblem(error);
    }
  }

  async function openRow(row) {
    if (addressRow() !== row) history.pushState(null, "", `#row=${row}`);
    await openSource({ row }, `row ${row}`);
  }

  async function openFiles(files, fields) {
    const opened = await openSource({ files, fields }, files.map((file) => file.name).join(", "));
    if (opened && addressRow() !== null) history.pushState(null, "", location.pathname + location.search);
  }

  async function explainClass(name) {
    occluding?.abort();
    setShading(null);
    classes.choose(name);
    if (!name || !source) return;
    const mine = new AbortController();
    occluding = mine;
    classes.wait(name, () => explainClass(null));
    say(`Working out what ${name} rests on.`);
    try {
      const answer = source.files
        ? await postFiles("api/ecgs/occlusion", source.files, { ...source.fields, class_name: name }, mine.signal)
        : await get(`api/records/${source.row}/occlusion`, { class_name: name }, mine.signal);
      setShading(answer);
      classes.choose(name);
    } catch (error) {
      if (error.name === "AbortError") return;
      classes.choose(null);
      showProblem(error);
    } finally {
      if (occluding === mine) {
        occluding = null;
        classes.wait(null);
      }
    }
  }

  function setShading(answer) {
    const was = shaded;
    shaded = answer;
    paper.shadeBy(answer);
    if (!answer) {
      classes.choose(null);
      if (!occluding || occluding.signal.aborted) classes.wait(null);
    }
    return was !== null;
  }

  function compare(neighbour, signal = null) {
    const was = comparison;
    comparison = neighbour;
    if (was || neighbour) paper.compareWith(signal, neighbour?.record);
    similar.compared(neighbour?.row ?? null);
    if (neighbour) {
      say(`Compared with ${neighbour.record}.`);
      byId("paper").scrollIntoView({ block: "nearest" });
    }
    return was !== null;
  }

  function escape() {
    if (forgetProblem() || paper.clearCaliper() || map.clear()) return true;
    if (occluding || shaded) return explainClass(null), true;
    return compare(null);
  }

  const toView = (name) => {
    tabs.choose(name);
    byId("archive-views").scrollIntoView({ block: "nearest" });
  };
  const toMap = async () => {
    toView("map");
    await map.show();
  };
  startKeys([
    { part: "Open", keys: ["o"], shown: ["O"], text: "choose files", run: opener.choose },
    { part: "Open", keys: ["/"], shown: ["/"], text: "find a record of the archive", run: () => byId("search").focus() },
    { part: "Open", keys: ["j"], shown: ["J"], text: "next record of the list", run: () => archive?.go(1) },
    { part: "Open", keys: ["k"], shown: ["K"], text: "previous record of the list", run: () => archive?.go(-1) },
    { part: "Open", keys: [], shown: ["↑", "↓", "Enter"], text: "in the list: move, open" },
    { part: "Paper", keys: ["+", "="], shown: ["+"], text: "zoom in", run: paper.view.zoomIn },
    { part: "Paper", keys: ["-"], shown: ["−"], text: "zoom out", run: paper.view.zoomOut },
    { part: "Paper", keys: ["0"], shown: ["0"], text: "see all of it", run: paper.view.reset },
    { part: "Paper", keys: ["r"], shown: ["R"], text: "three rows of four, or a row each", run: paper.switchLayout },
    { part: "Paper", keys: ["v"], shown: ["V"], text: "dragging measures, or moves the paper", run: paper.switchTool },
    { part: "Paper", keys: ["c"], shown: ["C"], text: "place a caliper", run: paper.placeCaliper },
    { part: "Paper", keys: [], shown: ["←", "↑", "→", "↓"], text: "move the caliper or its corner: 0.5 mm; with Shift 5 mm, with Alt 0.1 mm; without one, the zoomed paper" },
    { part: "Paper", keys: [], shown: ["Ctrl", "wheel"], text: "zoom where the pointer is; Space and drag moves" },
    { part: "Archive", keys: ["s"], shown: ["S"], text: "similar ECGs", run: () => toView("similar") },
    { part: "Archive", keys: ["m"], shown: ["M"], text: "map of the archive", run: toMap },
    { part: "Archive", keys: ["l"], shown: ["L"], text: "map: draw a lasso", run: () => void toMap().then(map.lasso) },
    { part: "Archive", keys: ["g"], shown: ["G"], text: "map: describe all points in view", run: () => void toMap().then(map.groupOfView) },
    { part: "Archive", keys: ["b"], shown: ["B"], text: "similar ECGs and map beside the paper, or below", run: tabs.beside },
    { part: "Archive", keys: [], shown: ["arrows", "+", "−", "Enter"], text: "on the map: move, zoom, open the point in the middle" },
    { part: "Page", keys: ["d"], shown: ["D"], text: "colours: as the system, light, dark", run: switchTheme },
    { part: "Page", keys: ["Escape"], shown: ["Esc"], text: "leave: message, caliper, group, shading, comparison", run: escape },
    { part: "Page", keys: [], shown: ["?"], text: "these keys" },
  ]);

  const openAddress = () => {
    const row = addressRow();
    if (row !== null && row !== source?.row) openSource({ row }, `row ${row}`);
  };
  addEventListener("popstate", openAddress);
  addEventListener("hashchange", openAddress);
  openAddress();
  document.documentElement.dataset.ready = "true";
  say(`Ready. ${about.index ? count(about.index.rows, "ECG") : "No archive"} to choose from.`);
}

/** The row of the address, `#row=12`; null if there is none. */
function addressRow() {
  const text = new URLSearchParams(location.hash.slice(1)).get("row");
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}
