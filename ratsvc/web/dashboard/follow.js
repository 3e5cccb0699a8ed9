// Follows one record: this page opens a reader in each format that is wanted, publishes with `journey=1`, and puts
// together what the service tells of its side and what arrived here, when, and as which bytes.
//
// The two clocks are not compared: the service's times count from the moment it had the request's head. What of the
// request's time here is not the service's is the way there and back; it is laid half before and half after.

import { $, element } from "../dom.js";
import { bytes as size, count, visible } from "./text.js";
import { hex } from "./values.js";

const WAIT_MS = 5000, SHOWN_BYTES = 600, MOST_BYTES = 8 * 1024 * 1024;
const FORMATS = { sse: "SSE", ndjson: "JSON lines", binary: "binary" };
const STEPS = [ // of the service: what it is called, and between which of its times
  ["Request's body", "received", "body"],
  ["Checks, and packing as a record", "body", "checked"],
  ["Queue", "queued", "commit_began"],
  ["Commit to the log", "commit_began", "committed"],
  ["Encodings, and writes to live readers", "committed", "delivered"],
  ["Acknowledgement", "delivered", "acknowledged"],
];

const us = (number) => (number < 1000 ? `${Math.round(number)} µs` : `${(number / 1000).toFixed(2)} ms`);

// A reader of its own: what comes after it has opened, with the time of each piece.
async function opened(stream, format, signal) {
  const query = new URLSearchParams({ format, view: "record", from: "latest", heartbeat: 60 });
  const response = await fetch(`/v1/streams/${encodeURIComponent(stream)}?${query}`, { signal });
  if (response.status === 204) throw new Error("the stream was ended: it takes no more records");
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `HTTP ${response.status}`);
  const reader = response.body.getReader(), found = { format, bytes: new Uint8Array(0), ends: [] };
  (async () => {
    for (;;) {
      const { done, value } = await reader.read(), at = performance.now();
      if (done || found.bytes.length + value.length > MOST_BYTES) return;
      const joined = new Uint8Array(found.bytes.length + value.length);
      joined.set(found.bytes);
      joined.set(value, found.bytes.length);
      found.bytes = joined;
      found.ends.push({ at, end: joined.length });
    }
  })().catch(() => undefined);
  return found;
}

function indexOf(bytes, wanted, from = 0) {
  for (let at = from; at <= bytes.length - wanted.length; at++) {
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}

function varint(number) {
  const bytes = [];
  for (let left = BigInt(number); ; left >>= 7n) {
    if (left < 128n) return [...bytes, Number(left)];
    bytes.push(Number(left & 127n) | 128);
  }
}

// Where a record stands in what came, and where it stops; null before it is there whole.
const TEXT = new TextEncoder(), BREAKS = { sse: "\n\n", ndjson: "\n" }, BATCH = 0x12, FIRST_OFFSET = 0x18;

function placeOf({ format, bytes }, { cursor, first }) {
  if (format !== "binary") {
    const stop = BREAKS[format], at = indexOf(bytes, [...TEXT.encode(cursor)]), end = at < 0 ? -1 : indexOf(bytes, [...TEXT.encode(stop)], at);
    const before = new TextDecoder().decode(bytes.subarray(0, Math.max(0, at)));
    return end < 0 ? null : [TEXT.encode(before.slice(0, before.lastIndexOf(stop) + 1)).length + (before.includes(stop) ? stop.length - 1 : 0), end + stop.length];
  }
  const wanted = [FIRST_OFFSET, ...varint(first)];
  for (let at = 0; at < bytes.length;) {
    let length = 0, scale = 1, start = at, byte;
    do {
      byte = bytes[start++];
      length += (byte & 127) * scale;
      scale *= 128;
    } while (byte > 127);
    const end = start + length;
    if (!(end <= bytes.length)) return null;
    if (bytes[start] === BATCH && indexOf(bytes.subarray(start, end), wanted) >= 0) return [at, end];
    at = end;
  }
  return null;
}

// When the record was there whole, and its bytes.
function arrival(reader, answer) {
  const place = placeOf(reader, answer);
  return place && { at: reader.ends.find(({ end }) => end >= place[1]).at, value: reader.bytes.subarray(...place) };
}

async function run(stream, text, formats) {
  const control = new AbortController(), signal = AbortSignal.any([control.signal, AbortSignal.timeout(4 * WAIT_MS)]);
  try {
    const readers = await Promise.all(formats.map((format) => opened(stream, format, signal)));
    const began = performance.now();
    const response = await fetch(`/v1/streams/${encodeURIComponent(stream)}?journey=1`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: text, signal,
    });
    const answer = await response.json(), took = (performance.now() - began) * 1000;
    if (!response.ok) throw new Error(answer.detail ?? `HTTP ${response.status}`);
    const until = performance.now() + WAIT_MS;
    while (readers.some((one) => !arrival(one, answer)) && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const arrived = readers.map((one) => {
      const found = arrival(one, answer);
      return { format: one.format, at: found ? (found.at - began) * 1000 : null, value: found?.value ?? null };
    });
    return { answer, took, arrived };
  } finally {
    control.abort();
  }
}

// The waterfall: bars on one scale, in microseconds since the page sent its request.
function waterfall({ answer: { journey }, took, arrived }) {
  const { steps } = journey, served = steps.acknowledged, way = Math.max(0, took - served) / 2;
  const bars = [
    ["Way to the service", 0, way, "way"],
    ...STEPS.map(([name, from, to]) => [name, way + steps[from], way + steps[to], "service"]),
    ["Way back, with the acknowledgement", way + served, took, "way"],
    ...arrived.filter(({ at }) => at !== null).map(({ format, at }) => [`Record here, as ${FORMATS[format]}`, at, at, "arrival"]),
  ];
  const end = Math.max(...bars.map(([, , to]) => to)), list = element("ol", undefined, "waterfall");
  for (const [name, from, to, is] of bars) {
    const item = element("li", undefined, is), line = element("span", undefined, "bar"), bar = element("i");
    bar.style.left = `${(100 * from) / end}%`;
    bar.style.width = `${Math.max(0.4, (100 * (to - from)) / end)}%`;
    line.append(bar);
    item.append(element("span", name, "label"), line, element("span", is === "arrival" ? `at ${us(to)}` : us(to - from), "number"));
    list.append(item);
  }
  return list;
}

function table(head, rows) {
  const made = element("table"), body = element("tbody"), top = element("tr");
  const cell = (tag, text, at) => element(tag, text, at > 0 && at < head.length - 1 ? "number" : "");
  top.append(...head.map((text, at) => Object.assign(cell("th", text, at), { scope: "col" })));
  made.append(element("thead"), body);
  made.tHead.append(top);
  for (const row of rows) {
    const line = element("tr");
    line.append(...row.map((text, at) => cell("td", text, at)));
    body.append(line);
  }
  return made;
}

function panel(title, ...inside) {
  const made = element("section", undefined, "panel");
  made.append(element("h2", title), ...inside);
  return made;
}

function asSent(format, value) {
  if (format !== "binary") return visible(new TextDecoder().decode(value.subarray(0, SHOWN_BYTES)).replaceAll("\r", "␍"));
  const lines = [];
  for (let at = 0; at < Math.min(value.length, SHOWN_BYTES); at += 16) lines.push(hex(value.subarray(at, at + 16)));
  return lines.join("\n");
}

function show(found) {
  const { answer, arrived } = found, { journey } = answer;
  const shared = (one) => (one.shared ? `again ${count(one.shared)}×, without work` : "made once, for all its readers");
  const encodings = journey.encodings.map((one) => [one.format, size(one.bytes), us(one.us), shared(one)]);
  const live = Object.entries(journey.readers).map(([format, readers]) => `${count(readers)} ${format}`).join(", ") || "none";
  const others = journey.others ? `; ${count(journey.others)} others read it at their own pace` : "";
  const commit = `Committed at ${answer.cursor} with ${journey.commit_records === 1 ? "no other record" : `${count(journey.commit_records - 1)} others`}, of ${count(journey.commit_publishes)} ${journey.commit_publishes === 1 ? "publish" : "publishes"}. Live readers written to before the acknowledgement: ${live}${others}.`;
  const sent = arrived.map(({ format, at, value }) => {
    const box = element("figure"), text = value ? asSent(format, value) : "did not arrive in time";
    const cut = value && value.length > SHOWN_BYTES ? `, the first ${SHOWN_BYTES} shown` : "";
    box.append(element("figcaption", `${FORMATS[format]}: ${value ? `${size(value.length)} after ${us(at)}${cut}` : "–"}`), element("pre", text));
    return box;
  });
  const grid = element("div", undefined, "arrivals");
  grid.append(...sent);
  $("journey").replaceChildren(
    panel("Its way", waterfall(found), element("p", commit, "soft"),
      element("p", "The two clocks are not compared: the ways there and back are taken as equal.", "soft")),
    panel("Encodings until the acknowledgement", encodings.length
      ? table(["Format", "Size", "Time", ""], encodings)
      : element("p", "None: nobody read the stream live.", "empty")),
    ...(arrived.length ? [panel("What arrived here", grid)] : []),
  );
}

$("follow").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = $("follow-said"), form = event.target, button = form.querySelector("[type=submit]");
  const formats = [...form.querySelectorAll("[name=format]:checked")].map(({ value }) => value);
  button.disabled = true;
  said.className = "";
  said.textContent = "on its way…";
  try {
    const found = await run($("follow-stream").value.trim(), $("follow-value").value, formats);
    show(found);
    said.className = "good";
    said.textContent = `acknowledged after ${us(found.took)}`;
  } catch (error) {
    said.className = "bad";
    said.textContent = visible(error.message);
  } finally {
    button.disabled = false;
  }
});

export const follow = {
  show(query) {
    document.title = "Follow a record · ratsvc";
    if (query.get("stream")) $("follow-stream").value = query.get("stream");
  },
  hide() {},
};
