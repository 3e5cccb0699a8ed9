// What the demo's feeds share: following, the bar, and the list of happenings.

import { subscribe } from "/client.js";

import { $, Tape, element } from "./dom.js";

const KEEP_HAPPENINGS = 60, TICK_MS = 250, RATE_TICKS = 8;

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
