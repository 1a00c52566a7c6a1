// Requests to the server: the token, polite retries, and one kind of error.

const TOKEN = "ecgjepa-token";
const TRIES = 4;
const MAX_WAIT_S = 10;

/** Why a request got no answer; `reason` and `detail` are the server's. */
export class Problem extends Error {
  constructor(status, { reason, detail, record = null }) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.reason = reason;
    this.detail = detail;
    this.record = record;
  }
}

let askForToken = async () => null;
let tellWaiting = () => {};

/** `forToken(wasWrong)` resolves to a token or null; `waiting(seconds)` says that the server is busy. */
export function configure({ forToken, waiting }) {
  askForToken = forToken;
  tellWaiting = waiting;
}

/** Takes a token out of the address, so that it is neither seen nor shared. */
export function takeTokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (!fragment.has("token")) return;
  sessionStorage.setItem(TOKEN, fragment.get("token"));
  fragment.delete("token");
  history.replaceState(null, "", fragment.size ? `#${fragment}` : location.pathname + location.search);
}

export const get = (path, query = {}, signal = undefined) => ask(`${path}${queryText(query)}`, { signal });

export const postJson = (path, value, signal = undefined) =>
  ask(path, { method: "POST", signal, body: JSON.stringify(value), headers: { "Content-Type": "application/json" } });

/** Files and fields as a form; a list is one field for each of its values, an empty value is none. */
export function postFiles(path, files, fields, signal = undefined) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  for (const [name, value] of pairs(fields)) form.append(name, value);
  return ask(path, { method: "POST", body: form, signal });
}

function queryText(query) {
  const text = new URLSearchParams(pairs(query)).toString();
  return text ? `?${text}` : "";
}

function pairs(values) {
  return Object.entries(values).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).filter((each) => each !== null && each !== undefined && each !== "").map((each) => [name, String(each)]),
  );
}

async function ask(path, options) {
  let tokenWasWrong = false;
  for (let tries = 1; ; ) {
    const response = await send(path, options);
    if (response.ok) return readJson(response);
    const problem = await problemOf(response);
    if (response.status === 401) {
      const token = await askForToken(tokenWasWrong);
      if (!token) throw problem;
      sessionStorage.setItem(TOKEN, token);
      tokenWasWrong = true;
    } else if ((response.status === 429 || response.status === 503) && tries < TRIES) {
      const seconds = Math.min(Number(response.headers.get("Retry-After")) || 2 ** (tries - 1), MAX_WAIT_S);
      tellWaiting(seconds);
      await pause(seconds * 1000, options.signal);
      tries += 1;
    } else {
      throw problem;
    }
  }
}

async function send(path, options) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { reason: "unreachable", detail: "the server does not answer" });
  }
}

async function readJson(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(response.status, { reason: "cut_answer", detail: "the answer of the server was cut off" });
  }
}

async function problemOf(response) {
  try {
    const { error } = await response.json();
    if (error && error.reason && error.detail) return new Problem(response.status, error);
  } catch {
    // a proxy between here and the server may answer with something else than JSON
  }
  return new Problem(response.status, { reason: "no_reason", detail: `the server answered with status ${response.status}` });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    });
  });
}
