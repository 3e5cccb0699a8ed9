// What the demos' pages share. Whatever comes from a stream goes into the page as text.

export const $ = (id) => document.getElementById(id);
const formats = [0, 1].map((digits) => new Intl.NumberFormat("en", { maximumFractionDigits: digits }));
export const number = (value, digits = 0) => formats[digits].format(value);
export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

export function fromBase64(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

export function make(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A run: its buttons are off meanwhile, its state is told, and what goes wrong is shown.
export async function run(work) {
  const buttons = [...$("controls").querySelectorAll("button:not(:disabled)")];
  $("notice").hidden = true;
  state("connecting", "running");
  for (const button of buttons) button.disabled = true;
  try {
    await work();
    state("live", "done");
  } catch (error) {
    state("refused", "failed");
    $("notice").textContent = error.message;
    $("notice").hidden = false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

export function state(is, text) {
  $("state").dataset.is = is;
  $("state").textContent = text;
}

// A response, or an error that says why there is none.
export async function ask(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  const { detail, title } = await response.json().catch(() => ({}));
  throw new Error(detail ?? title ?? `HTTP ${response.status}`);
}

// The bytes of a response, as they come.
export async function* pieces(response) {
  const reader = response.body.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

// Reads events to the stream's end. `listen` has a function for each type of event; an error in one, also in what it
// promises, ends it.
export function events(path, listen, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(path);
    const over = (settle) => (value) => {
      source.close();
      settle(value);
    };
    const done = over(resolve), failed = over(reject);
    for (const [type, listener] of Object.entries(listen)) {
      source.addEventListener(type, async ({ data }) => {
        try {
          await listener(JSON.parse(data));
        } catch (error) {
          failed(error);
        }
      });
    }
    signal?.addEventListener("abort", done, { once: true });
    source.addEventListener("end", ({ data }) => {
      const { reason } = JSON.parse(data);
      reason === "ended" ? done() : failed(new Error(`the app ended the stream: ${reason}`));
    });
    // What is sent is not numbered, so a stream that broke off cannot be gone on with.
    source.addEventListener("error", () =>
      failed(new Error("no stream: too many runs at once, or the connection was lost")));
  });
}

// Shows what the digests say of each other. A browser has SHA-256 on localhost and over https alone.
export function compare(theirs, ours) {
  const said = ours === null ? "not checked: browsers compute SHA-256 on localhost and over https alone"
    : theirs === ours ? "the digests agree" : "the digests differ";
  $("theirs").textContent = theirs;
  $("ours").textContent = ours ?? "–";
  $("verdict").textContent = said;
  $("verdict").className = ours === null ? "" : theirs === ours ? "good" : "bad";
}

export function progress(id, bytes, total) {
  $(id).max = total || 1;
  $(id).value = total ? bytes : 1;
  $(`${id}-bytes`).textContent = `${number(bytes / 2 ** 20, 1)} of ${number(total / 2 ** 20, 1)} MiB`;
}

// Takes back what an earlier run has shown.
export function clear(...ids) {
  for (const id of ids) {
    $(id).textContent = "–";
    $(id).className = "";
  }
}
