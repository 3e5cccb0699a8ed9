// A stream, or several, live: typed records over the binary format, the inspector, pause, filter, a start at any
// place, publishing. Pausing gives up the connection, and going on resumes after the last record: nothing is lost or
// comes twice. A reader that cannot keep up asks to be moved to the newest, and is told what it skipped.

import { subscribe } from "/client.js";

import { $, Tape, draw, element } from "../dom.js";
import { inspect } from "./inspect.js";
import { Records, parseFilter } from "./records.js";
import { every, getJson } from "./service.js";
import { PATTERN } from "./streams.js";
import { ago, bytes, count, short, visible } from "./text.js";
import { json, kind } from "./values.js";

const START = "-50", FACTS_MS = 2000, LISTED = 1000, TURN_MS = 12, HIDDEN_MS = 60_000, KEEP_HAPPENINGS = 60, RATE_MS = 2000;
const FINAL = new Set(["ended", "failed"]);

const list = new Records($("records"), $("shown"), { onChoose: choose });
const happenings = new Tape($("happenings"), KEEP_HAPPENINGS, { isNewestFirst: true });
let names = [], feed = null, cursor = null, from = START, isPaused = false, isAsleep = false, stopFacts = null;
let total = 0, rates = [], turned = 0, sleeping = null, openedFrom = null;

// State and happenings.
function state(is, detail = "") {
  const before = $("state").dataset.is;
  $("state").dataset.is = is;
  $("state").textContent = is;
  $("notice").hidden = is !== "failed";
  $("notice").textContent = is === "failed" ? visible(detail) : "";
  if (is === before || is === "connecting") return;
  happened(`${is}${cursor ? ` at ${cursor}` : ""}${detail && `: ${detail}`}`, is);
}

function happened(text, is = "") {
  const time = new Date().toTimeString().slice(0, 8);
  $("newest-happening").textContent = `${time} ${visible(text)}`;
  happenings.add(() => {
    const item = element("li");
    item.dataset.kind = is;
    item.append(element("time", time), element("span", visible(text)));
    return item;
  });
}

function said(text, is) {
  happened(text, is);
  list.note(text, is);
}

// Reading.
function start() {
  const query = new URLSearchParams([...names.map((name) => ["stream", name]), ["overflow", "latest"]]);
  const mine = feed = subscribe(`/v1/subscribe?${query}`, {
    format: "binary",
    from: cursor ?? from,
    onRecord: take,
    onGap({ from: after, to, reason, skipped }) {
      const many = skipped ? `${count(skipped)} records` : "records";
      said(`gap (${reason}): ${many} after ${after} up to ${to} are not to be had`, "gap");
    },
    onEnd: ({ cursor: at, reason }) => said(`${reason} at ${at}`, "ended"),
    onState(is, { reason = "", wait } = {}) {
      if (mine !== feed || is === "closed") return;
      cursor = mine.cursor ?? cursor;
      if (is === "reconnecting") state(is, `${reason}; again in ${(wait / 1000).toFixed(1)} s`);
      else state(is, is === "failed" ? reason : "");
    },
  });
  mine.done.catch(() => undefined); // its state says it
}

function stop() {
  const mine = feed;
  feed = null;
  cursor = mine?.cursor ?? cursor;
  mine?.close();
}

// Whoever has worked for TURN_MS lets the page have its turn: the connection is held back meanwhile.
function take(record) {
  total++;
  list.add(record);
  $("records-empty").hidden = true;
  draw(drawBar);
  const now = performance.now();
  if (now - turned < TURN_MS || document.hidden) return undefined;
  return new Promise((resolve) => setTimeout(() => {
    turned = performance.now();
    resolve();
  }));
}

function drawBar() {
  const now = performance.now();
  rates.push({ at: now, total });
  while (rates.length > 2 && now - rates[1].at > RATE_MS) rates.shift();
  const took = (now - rates[0].at) / 1000;
  $("rate").textContent = took > 0.2 ? short((total - rates[0].total) / took) : "0";
  $("total").textContent = count(total);
  $("cursor").textContent = feed?.cursor ?? cursor ?? "–";
}

function pause(wanted) {
  isPaused = wanted;
  $("pause").textContent = isPaused ? "Resume" : "Pause";
  $("pause").setAttribute("aria-pressed", String(isPaused));
  if (isPaused) {
    stop();
    state("paused");
  } else start();
}

// A page that nobody looks at gives its connection up after a while: a browser has six for an origin.
document.addEventListener("visibilitychange", () => {
  clearTimeout(sleeping);
  if (document.hidden && feed && !isPaused && !FINAL.has(feed.state)) {
    sleeping = setTimeout(() => {
      isAsleep = true;
      stop();
      state("paused", "nobody looks at this page");
    }, HIDDEN_MS);
  } else if (!document.hidden && isAsleep) {
    isAsleep = false;
    if (names.length) start();
  }
});

// What is known of the streams.
async function facts() {
  drawBar();
  const found = [];
  for (const name of names.filter((one) => PATTERN.test(one)).slice(0, 8)) {
    found.push(...(await getJson(`/v1/streams?${new URLSearchParams({ pattern: name, limit: LISTED })}`)).streams);
  }
  const sum = (field) => found.reduce((all, one) => all + one[field], 0), one = found.length === 1 ? found[0] : null;
  const shown = one && names.length === 1 && names[0] === one.name ? one : null;
  const lines = [["Records", count(sum("records"))], ["Size", bytes(sum("bytes"))]];
  if (shown) {
    const { max_records: records, max_bytes: size, max_age: age } = shown.retention;
    lines.push(["Offsets", shown.records ? `${count(shown.first_offset)} – ${count(shown.last_offset)}` : "none"]);
    lines.push(["Kept for", `${ago(0, age * 1000)}, ${short(records)} records, ${bytes(size)}`]);
    lines.push(["Newest", shown.updated ? ago(new Date(shown.updated)) : "never"]);
  } else lines.push(["Streams", `${count(found.length)}${found.length >= LISTED ? "+" : ""}`]);
  const place = $("stream-facts");
  const pair = (name, ...what) => {
    const box = element("div"), value = element("dd");
    value.append(...what);
    box.append(element("dt", name), value);
    return box;
  };
  const link = element("a", found.length ? count(sum("readers")) : "–");
  link.href = `/ui/?view=connections${shown ? `&stream=${encodeURIComponent(shown.name)}` : ""}`;
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(...lines.map(([name, text]) => pair(name, found.length ? text : "–")), pair("Readers", link));
  if (hadFocus) link.focus();
}

// The inspector.
function choose(record) {
  inspect($("inspector"), record, {
    "Copy value": ({ value }) => copy(kind(value) === "string" ? value : json(value)),
    "Copy cursor": (one) => copy(one.cursor),
    "Read on from here": (one) => goFrom(one.cursor),
    Close: () => close(),
  });
  $("inspector").classList.add("is-open");
}

function close() {
  inspect($("inspector"), null);
  $("inspector").classList.remove("is-open");
  $("records").focus();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    happened("copied");
  } catch {
    happened("the browser does not let this page copy");
  }
}

function goFrom(place) {
  const query = new URLSearchParams([...names.map((name) => ["stream", name]), ["from", place]]);
  dispatchEvent(new CustomEvent("dashboard:go", { detail: `/ui/?${query}` }));
}

// Publishing.
const MEDIA_TYPES = { json: "application/json", text: "text/plain; charset=utf-8", hex: "application/octet-stream" };

function body() {
  const text = $("publish-value").value, type = $("publish-type").value;
  if (type !== "hex") return text;
  const digits = text.replace(/[\s:,]|0x/g, "");
  if (!/^(?:[0-9a-f]{2})+$/i.test(digits)) throw new Error("bytes are pairs of hexadecimal digits: 00 ff 7e");
  return Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
}

async function publish(event) {
  event.preventDefault();
  const result = $("publish-result"), query = new URLSearchParams();
  for (const name of ["key", "event"]) if ($(`publish-${name}`).value) query.set(name, $(`publish-${name}`).value);
  try {
    const began = performance.now(), type = $("publish-type").value;
    const response = await fetch(`/v1/streams/${encodeURIComponent($("publish-stream").value)}?${query}`, {
      method: "POST", headers: { "Content-Type": MEDIA_TYPES[type] }, body: body(),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail ?? `HTTP ${response.status}`);
    result.className = "good";
    const many = answer.stored === 1 ? "" : `${count(answer.stored)} records, the last `;
    result.textContent = `${many}stored at ${answer.cursor} in ${(performance.now() - began).toFixed(1)} ms`;
  } catch (error) {
    result.className = "bad";
    result.textContent = visible(error.message);
  }
}

function showPublish(isOpen) {
  $("publish").hidden = !isOpen;
  $("publish-open").setAttribute("aria-expanded", String(isOpen));
  if (isOpen) $("publish-value").focus();
}

$("publish").addEventListener("submit", publish);
$("publish").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("publish").requestSubmit();
});
$("publish-open").addEventListener("click", () => showPublish($("publish").hidden));
$("pause").addEventListener("click", () => {
  if (feed && FINAL.has(feed.state)) return;
  pause(!isPaused);
});
$("filter").addEventListener("input", () => list.setFilter(parseFilter($("filter").value)));
$("filter").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") {
    event.preventDefault();
    $("records").focus();
  }
});
$("filter-form").addEventListener("submit", (event) => event.preventDefault());
$("from-form").addEventListener("submit", (event) => {
  event.preventDefault();
  goFrom($("from").value.trim() || START);
});
$("copy-cursor").addEventListener("click", () => copy($("cursor").textContent));

export const stream = {
  show(query) {
    names = query.getAll("stream").flatMap((some) => some.split(/[\s,]+/)).filter(Boolean);
    openedFrom = query.get("from");
    [from, cursor, total, rates, isPaused, isAsleep] = [openedFrom ?? START, null, 0, [], false, false];
    const title = names.join(", "), several = new URLSearchParams(names.map((name) => ["stream", name]));
    document.title = `${title} · ratsvc`;
    $("stream-title").textContent = visible(title);
    $("from").value = openedFrom ?? "";
    $("filter").value = "";
    $("happenings").replaceChildren();
    $("records-empty").hidden = false;
    $("pause").textContent = "Pause";
    $("pause").setAttribute("aria-pressed", "false");
    $("stream-facts").replaceChildren();
    const isName = names.length === 1 && !/[*>]/.test(names[0]);
    $("publish-stream").value = isName ? names[0] : "";
    $("records").classList.toggle("is-single", isName);
    const path = names.length === 1 ? `/v1/streams/${encodeURIComponent(names[0]).replaceAll("%3E", ">")}` : `/v1/subscribe?${several}`;
    $("curl").textContent = `curl -N '${location.origin}${path.replaceAll("'", "%27")}'`;
    showPublish(false);
    list.setFilter(null);
    list.clear();
    inspect($("inspector"), null);
    $("inspector").classList.remove("is-open");
    $("state").dataset.is = "";
    state("connecting");
    drawBar();
    start();
    stopFacts = every(FACTS_MS, facts);
  },
  hide() {
    stop();
    stopFacts?.();
    clearTimeout(sleeping);
    names = [];
  },
  key(event) {
    if (event.key === " " && !event.target.closest("button, a, summary")) {
      event.preventDefault();
      $("pause").click();
    } else if (event.key === "p") {
      event.preventDefault();
      showPublish($("publish").hidden);
    } else if (event.key === "Escape" && $("inspector").classList.contains("is-open")) close();
    else if (event.key === "Escape") dispatchEvent(new CustomEvent("dashboard:go", { detail: "/ui/" }));
    else if (event.key === "ArrowDown" && event.target.closest("[role=listbox]") === null && !event.target.closest("aside, form")) {
      event.preventDefault();
      $("records").focus();
      list.key(event);
    }
  },
};

