// The list of the newest records, newest first. It takes any number a second and shows what one can look at: bursts of
// BURST whole, after that SHOWN_PER_S a second, always the newest; how many of how many is said. What is shown is kept,
// up to KEEP rows and KEEP_BYTES; all the others were only counted (and searched, when there is a filter). While the
// pointer is down on it, the list stands still: what is pressed is what is chosen, and a text can be marked.

import { draw, element } from "../dom.js";
import { clock, count, oneLine, visible } from "./text.js";
import { includes, preview, weight } from "./values.js";

const KEEP = 300, KEEP_BYTES = 32 * 1024 * 1024, BURST = 200, SHOWN_PER_S = 40, PREVIEW = 240;
const SPAN_MS = 2000; // over which "1 of N" is counted

// `key:k event:e stream:s some text`: each of them must be there, the text anywhere.
export function parseFilter(filter) {
  const tests = [];
  const text = filter.replace(/(^|\s)(key|event|stream):(\S+)/g, (_, __, field, wanted) => {
    tests.push((record) => record[field] === wanted);
    return " ";
  }).trim().toLowerCase();
  if (text) tests.push((record) => includes(record.value, text) || [record.key, record.event, record.stream].some((one) => one.toLowerCase().includes(text)));
  return tests.length ? (record) => tests.every((test) => test(record)) : null;
}

export class Records {
  constructor(list, said, { onChoose }) {
    Object.assign(this, { list, said, onChoose, filter: null, isHeld: false, drawn: () => this.isHeld || this.draw() });
    this.clear();
    list.addEventListener("pointerdown", () => this.isHeld = true);
    for (const over of ["pointerup", "pointercancel", "blur"]) window.addEventListener(over, () => {
      if (this.isHeld) draw(this.drawn);
      this.isHeld = false;
    });
    list.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.choose(this.kept.find((one) => one.row === row));
    });
    list.addEventListener("keydown", (event) => this.key(event));
  }

  clear() {
    Object.assign(this, { kept: [], bytes: 0, waiting: [], waitingBytes: 0, chosen: null, room: BURST, filledAt: performance.now() });
    Object.assign(this, { seen: 0, matched: 0, shown: 0, spans: [] });
    this.list.replaceChildren();
    this.list.removeAttribute("aria-activedescendant");
    this.say();
  }

  // Of all that is kept and comes, shows what passes.
  setFilter(filter) {
    this.filter = filter;
    Object.assign(this, { seen: 0, matched: 0, shown: 0, spans: [] });
    for (const one of this.kept) if (one.record) one.row.hidden = Boolean(filter) && !filter(one.record);
    this.say();
  }

  add(record) {
    this.seen++;
    if (this.filter && !this.filter(record)) return draw(this.drawn);
    this.matched++;
    const one = { record, bytes: weight(record.value) };
    this.waiting.push(one);
    this.waitingBytes += one.bytes;
    if (this.waiting.length > 2 * BURST || this.waitingBytes > KEEP_BYTES) this.shorten();
    draw(this.drawn);
  }

  // Lets go of the older half of the records that wait to be shown: no frame came, or more than one can show.
  shorten() {
    const old = this.waiting.splice(0, Math.ceil(this.waiting.length / 2));
    this.waiting.unshift(...old.filter((one) => one.note));
    this.waitingBytes = this.waiting.reduce((sum, one) => sum + one.bytes, 0);
  }

  // A word about the records between them: a gap, an end, a reconnect.
  note(text, is) {
    this.waiting.push({ note: text, is, bytes: 0 });
    draw(this.drawn);
  }

  draw() {
    const now = performance.now();
    this.room = Math.min(BURST, this.room + ((now - this.filledAt) / 1000) * SHOWN_PER_S);
    this.filledAt = now;
    const made = [];
    for (const one of this.waiting.reverse()) {
      if (one.record && this.room < 1) continue;
      if (one.record) this.room--;
      made.push(one);
    }
    this.waiting = [];
    this.waitingBytes = 0;
    for (const one of made) {
      one.row = one.record ? recordRow(one.record) : noteRow(one);
      this.bytes += one.bytes;
      this.shown += one.record ? 1 : 0;
    }
    this.kept.unshift(...made);
    this.list.prepend(...made.map(({ row }) => row));
    while (this.kept.length > KEEP || (this.bytes > KEEP_BYTES && this.kept.length > 1)) {
      const old = this.kept.pop();
      this.bytes -= old.bytes;
      old.row.remove();
    }
    this.spans.push({ at: now, matched: this.matched, shown: this.shown });
    while (this.spans.length > 2 && now - this.spans[1].at > SPAN_MS) this.spans.shift();
    this.say();
  }

  say() {
    const first = this.spans[0] ?? { matched: 0, shown: 0 };
    const matched = this.matched - first.matched, shown = this.shown - first.shown;
    const part = matched > shown && shown > 0 ? `sampled: showing 1 of ${count(Math.round(matched / shown))}` : "showing every record";
    const text = this.filter ? `${count(this.matched)} of ${count(this.seen)} match, ${part}` : part;
    this.said.classList.toggle("is-sampled", matched > shown && shown > 0);
    if (this.said.textContent !== text) this.said.textContent = text;
  }

  choose(one) {
    if (!one?.record) return;
    this.chosen?.row.setAttribute("aria-selected", "false");
    this.chosen = one;
    one.row.setAttribute("aria-selected", "true");
    this.list.setAttribute("aria-activedescendant", one.row.id);
    one.row.scrollIntoView({ block: "nearest" });
    this.onChoose(one.record);
  }

  key(event) {
    const all = this.kept.filter((one) => one.record && !one.row.hidden), at = all.indexOf(this.chosen);
    const to = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), PageDown: at + 10, PageUp: Math.max(0, at - 10), Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all.length) return;
    event.preventDefault();
    this.choose(all[Math.min(to, all.length - 1)]);
  }
}

let numbers = 0;

function recordRow({ stream, cursor, time, key, event, value }) {
  const row = element("div", undefined, "record"), about = element("span", undefined, "about");
  row.id = `record-${++numbers}`;
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", "false");
  about.append(element("time", clock(time)), element("span", stream, "name"));
  if (key) about.append(element("bdi", oneLine(key, 60), "key"));
  if (event) about.append(element("bdi", oneLine(event, 60), "event"));
  row.append(about, element("bdi", preview(value, PREVIEW), typeof value === "string" ? "value text" : "value"));
  row.title = cursor;
  return row;
}

function noteRow({ note, is }) {
  const row = element("div", visible(note), "note");
  row.dataset.kind = is;
  row.setAttribute("role", "presentation");
  return row;
}
