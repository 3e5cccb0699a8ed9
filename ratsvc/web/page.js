// What the feeds and the record list share: following, the bar, the list of happenings, and drawing once per frame.
// Whatever comes in records goes into the page as text.

import { subscribe } from "/client.js";

const KEEP_HAPPENINGS = 60, TICK_MS = 250, RATE_TICKS = 8;

export const $ = (id) => document.getElementById(id);

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Calls `part` once in the next frame, however often it is asked for.
const asked = new Set();

export function draw(part) {
  if (asked.size === 0) requestAnimationFrame(drawAsked);
  asked.add(part);
}

function drawAsked() {
  const parts = [...asked];
  asked.clear();
  for (const part of parts) part();
}

// Follows streams; stopped and started again it goes on where it was. Pages in several tabs share a connection.
export class Feed {
  constructor(url, options) {
    Object.assign(this, { url, options, cursor: null });
  }

  start() {
    const subscription = subscribe(this.url, { share: true, ...this.options, from: this.cursor ?? this.options.from });
    subscription.done.catch(() => undefined); // said by its state
    this.stop = () => subscription.close();
    Object.defineProperty(this, "cursor", { get: () => subscription.cursor, configurable: true });
  }

  stop() {}
}

// A list that shows the newest `most` of what is added, at its end or at its start.
export class Tape {
  constructor(list, most, { isNewestFirst = false } = {}) {
    Object.assign(this, { list, most, isNewestFirst, waiting: [], drawn: () => this.draw() });
  }

  add(make) {
    this.waiting.push(make);
    if (this.waiting.length > 2 * this.most) this.waiting.splice(0, this.waiting.length - this.most);
    draw(this.drawn);
  }

  draw() {
    const { list, most } = this;
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 8;
    const made = this.waiting.slice(-most).map((make) => make());
    this.waiting = [];
    if (this.isNewestFirst) list.prepend(...made.reverse());
    else list.append(...made);
    while (list.childElementCount > most) (this.isNewestFirst ? list.lastElementChild : list.firstElementChild).remove();
    if (!this.isNewestFirst && isAtEnd) list.scrollTop = list.scrollHeight;
  }
}

// The bar.
const ticks = new Array(RATE_TICKS).fill(0);
let total = 0, feed = null;

export function count(records = 1) {
  total += records;
  ticks[0] += records;
}

export function showCursorOf(shown) {
  feed = shown;
}

setInterval(() => {
  const rate = ticks.reduce((sum, one) => sum + one, 0) / ((RATE_TICKS * TICK_MS) / 1000);
  ticks.unshift(0);
  ticks.length = RATE_TICKS;
  $("rate").textContent = rate.toLocaleString("en", { maximumFractionDigits: rate < 100 ? 1 : 0 });
  $("total").textContent = total.toLocaleString("en");
  $("cursor").textContent = feed?.cursor || "–";
}, TICK_MS);

export function state(is, { reason = "" } = {}) {
  if (is === "closed") return; // paused: the page says it itself
  const before = $("state").dataset.is;
  $("state").dataset.is = is;
  $("state").textContent = is;
  $("notice").hidden = is !== "failed";
  $("notice").textContent = reason;
  if (is === before || is === "connecting" || is === "ended") return;
  happened(`${is}${feed?.cursor ? ` at ${feed.cursor}` : ""}${reason && `: ${reason}`}`, is);
}

// What happened: gaps, ends, reconnects, pauses.
const happenings = new Tape($("happenings"), KEEP_HAPPENINGS, { isNewestFirst: true });

export function happened(text, kind = "") {
  const time = new Date().toTimeString().slice(0, 8);
  happenings.add(() => {
    const item = element("li");
    item.dataset.kind = kind;
    item.append(element("time", time), element("span", text));
    return item;
  });
}

// Options for a feed; `what` names it among the happenings.
export function listener(what, record, own = {}) {
  return {
    onRecord(one) {
      count();
      try {
        record(one);
      } catch (error) {
        happened(`${what}: a record that cannot be shown here (${error.message})`, "failed");
      }
    },
    onState(is, { reason, wait } = {}) {
      if (is === "reconnecting") happened(`${what}: comes back in ${(wait / 1000).toFixed(1)} s (${reason})`, is);
      if (is === "failed") happened(`${what}: ${reason}`, is);
    },
    onGap({ from, to, reason, skipped }) {
      const many = skipped ? `${skipped.toLocaleString("en")} records` : "records";
      happened(`${what}: a gap (${reason}), ${many} after ${from} up to ${to} are not to be had`, "gap");
    },
    onEnd({ cursor, reason }) {
      happened(`${what}: ${reason} at ${cursor}`, "ended");
    },
    ...own,
  };
}
