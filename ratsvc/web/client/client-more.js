// What only some pages need, loaded by client.js when it is asked for: whole documents of deltas, one connection for all
// tabs of an origin that read the same, and a bound for browsers that have none.
//
// Reading ahead: Firefox and Safari take in all that a connection brings, however slowly its body is read (Firefox 153
// and WebKitGTK 2.50 did with 97 MB). There all that comes is read at once and kept; when more than MOST_AHEAD_BYTES wait
// the connection is given up, and made again from the place where the reader is when it has read these.
//
// Deltas: a record that comes as a patch is given out as the document that the patch makes (RFC 6902: add, remove,
// replace). A document that was given out is never changed; what a patch leaves alone, the two have in common. The
// newest documents are kept, `maxDocuments` of them; where one is missing that was forgotten, it is asked for by a new
// connection from the place before the patch: there each comes whole first. So a connection brings at least as many
// records as documents may be kept, and those whose keys never come again cost nothing.
//
// Tabs: the one that holds a lock follows the streams, and keeps the newest lists of words. Every tab, itself too, asks
// it for what comes next, one list at a time, and reads what is not kept there over a short connection of its own. The
// socket is read only while some tab waits for more: the quickest sets the pace, a tab that does not ask is sent
// nothing, and nothing is kept but MOST_KEPT_BYTES. When the tab goes, the browser gives its lock to another, which
// follows from its own place; the others ask it from theirs.

const MOST_KEPT_BYTES = 4 * 1024 * 1024, MOST_AHEAD_BYTES = 16 * 1024 * 1024, RETRY_MS = 1000;
const MOST_DOCUMENTS = 10_000, FORGOTTEN_WAIT_MS = 50;

/** A response whose body is read ahead. */
export function ahead({ status, headers, body }) {
  return { status, headers, body: body && { getReader: () => aheadOf(body.getReader()) } };
}

function aheadOf(reader) {
  const kept = [];
  let bytes = 0, wake;
  const size = ({ value }) => value?.length ?? 0;

  async function pump() {
    for (let one = { value: true }; one.value; wake?.()) {
      one = await reader.read().catch((error) => ({ error }));
      kept.push(one);
      bytes += size(one);
      if (bytes <= MOST_AHEAD_BYTES) continue;
      reader.cancel().catch(() => undefined);
      const words = [["reconnect", { retry_ms: 0, reason: "behind" }]];
      kept.push({ value: { buffer: true, length: 0, words } });
      one = {};
      kept.push(one);
    }
  }

  async function read() {
    while (!kept.length) await new Promise((resolve) => { wake = resolve; });
    const one = kept.shift();
    bytes -= size(one);
    if (one.error) throw one.error;
    return one;
  }

  pump();
  return { read };
}

// How a cursor is to another: undefined where it is of another epoch, else below, at or above 0.
function compare(one, other) {
  const [epoch, offset] = one.split("-"), [otherEpoch, otherOffset] = other.split("-");
  return epoch === otherEpoch ? Number(BigInt(offset) - BigInt(otherOffset)) : undefined;
}

/** Lists of words made of those that `follow` gives: whole documents, and shared where tabs can share. */
export function more(lists, RatError, { maxDocuments = MOST_DOCUMENTS }, key, query, ...own) {
  if (query.has("delta")) return documents(lists, RatError, maxDocuments, query, ...own);
  if (!key[0] || !globalThis.navigator?.locks || ["limit", "until", "snapshot"].some((name) => query.has(name))) return lists;
  return shared(`ratsvc ${key.join(" ")}`, ...own);
}

/** Words with the document of each record, where a patch came. */
async function* documents(lists, RatError, most, query, subscription, from, follow, placeAfter, attempt, stops, tell) {
  if (!(most >= 1)) throw new RangeError("maxDocuments must be 1 or more");
  const newest = new Map(); // the one that changed last comes last
  let hasForgotten = false;

  // The record with its document; false when that was forgotten.
  function whole(record) {
    const name = `${record.stream} ${record.key}`; // a stream's name has no space
    if (record.patch) {
      if (!newest.has(name) && hasForgotten) return false;
      try {
        if (!newest.has(name)) throw new RangeError("its document never came");
        record.value = record.patch.reduce(patched, newest.get(name));
      } catch (error) {
        throw new RatError(200, { detail: `a patch of ${name} cannot be applied: ${error.message}` });
      }
      delete record.patch;
    }
    newest.delete(name);
    newest.set(name, record.value);
    if (newest.size > most) {
      newest.delete(newest.keys().next().value);
      hasForgotten = true;
    }
    return true;
  }

  for (let left = query.get("limit"), isWhole = false; !isWhole;) {
    isWhole = true;
    for await (const words of lists) {
      const at = words.findIndex(([kind, record]) => kind === "record" && !whole(record));
      isWhole = at < 0;
      const told = isWhole ? words : words.slice(0, at);
      left -= told.filter(([kind]) => kind === "record").length;
      yield told;
      if (!isWhole) break;
    }
    if (isWhole) return;
    newest.clear();
    hasForgotten = false;
    if (query.has("limit")) query.set("limit", left);
    tell("reconnecting", { reason: "forgotten", wait: FORGOTTEN_WAIT_MS });
    await attempt(null, FORGOTTEN_WAIT_MS);
    lists = follow(subscription.cursor ?? from, {}, tell);
  }
}

/** What an operation makes of a document, which stays as it was. */
export function patched(document, { op, path, value }) {
  const [root, ...keys] = path.split("/");
  if (root || !["add", "remove", "replace"].includes(op)) throw new RangeError(`${op} ${path} is no operation`);
  return changed(document, keys.map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~")), op, value);
}

function changed(node, [key, ...deeper], op, value) {
  if (key === undefined) return value;
  if (node === null || typeof node !== "object") throw new RangeError(`nothing can be at ${key}`);
  const isList = Array.isArray(node), isLast = deeper.length === 0, isNew = isLast && op === "add";
  const at = isList && key === "-" ? node.length : key;
  const isThere = isList ? /^(0|[1-9]\d*)$/.test(at) && at < node.length + isNew : isNew || Object.hasOwn(node, key);
  if (!isThere) throw new RangeError(`nothing is at ${key}`);
  const inner = isLast ? value : changed(node[at], deeper, op, value), isGone = isLast && op === "remove";
  if (isList) return node.toSpliced(at, isNew ? 0 : 1, ...(isGone ? [] : [inner]));
  const entries = Object.entries(node).filter(([name]) => !isGone || name !== key);
  return Object.fromEntries(isGone ? entries : [...entries, [key, inner]]); // an own property of any name, __proto__ too
}

// A word for all who listen at a name.
function say(name, word) {
  const channel = new BroadcastChannel(name);
  channel.postMessage(word);
  channel.close();
}

async function* shared(name, subscription, from, follow, placeAfter, attempt, stops, tell) {
  const me = crypto.randomUUID(), answers = new BroadcastChannel(name + me), news = new BroadcastChannel(`${name} news`);
  const closing = new AbortController();
  let seat = {}, asking = 0, failure, wake;
  const close = () => closing.abort();
  const ask = () => say(`${name} asks`, { me, asking, cursor: subscription.cursor, isLatest: from === "latest", ...seat });
  stops.add(close);
  // From the leader: what its connection does; nothing: that it is new.
  news.onmessage = ({ data }) => (data ? tell(...data) : ask());
  const lead = () => leading({ name, me, signal: closing.signal, subscription, follow, placeAfter });
  navigator.locks.request(name, { signal: closing.signal }, lead).catch((error) => {
    failure = error;
    wake?.();
  });
  try {
    for (;;) {
      asking++;
      // An answer; something else when there is none in time (a leader that the browser has frozen), or on a failure.
      const answer = await attempt(new Promise((resolve) => {
        wake = resolve;
        answers.onmessage = ({ data }) => data.asking === asking && resolve(data);
        ask();
      }));
      if (closing.signal.aborted) return;
      if (failure) throw failure;
      const past = subscription.cursor;
      if (answer?.words) {
        if (subscription.state === "connecting") tell("live");
        // From a leader that is new to this tab the first list may begin before its place.
        const isSeen = seat.leader === answer.leader || past === null
          ? () => false
          : ([kind, { cursor }]) => (kind === "record" || kind === "moved") && compare(cursor, past) <= 0;
        seat = { leader: answer.leader, next: answer.next };
        yield answer.words.filter((word) => !isSeen(word));
        continue;
      }
      seat = {};
      for await (const words of follow(past ?? from, { until: "now" }, tell)) {
        yield words.map(([kind, body]) => [kind === "end" && body.reason === "until" ? "moved" : kind, body]);
      }
      if (subscription.cursor === past) await attempt(null, RETRY_MS);
    }
  } finally {
    close();
    stops.delete(close);
    answers.close();
    news.close();
  }
}

// Follows for all, until its own tab closes.
async function leading({ name, me, signal, subscription, follow, placeAfter }) {
  const kept = [], asks = new Map(), inbox = new BroadcastChannel(`${name} asks`);
  let first = 0, bytes = 0, place = null, isOver = false, wake;

  // Where in `kept` an asker goes on; undefined when what it wants is not there.
  function find({ leader, next, cursor, isLatest }) {
    if (leader === me) return next < first ? undefined : next - first;
    if (cursor === null) return isLatest ? kept.length : undefined;
    if (!(compare(cursor, kept[0].before) >= 0)) return undefined;
    const at = kept.findIndex(({ before, after }) => compare(before, cursor) >= 0 || compare(after, cursor) > 0);
    return at < 0 ? kept.length : at;
  }

  function answer(ask) {
    const at = find(ask);
    let words = at === undefined ? null : kept.slice(at).flatMap((one) => one.words);
    if (words && ask.cursor === null) words = [["moved", { cursor: place }]];
    if (words?.length === 0) return;
    asks.delete(ask.me);
    say(name + ask.me, { asking: ask.asking, leader: me, next: first + kept.length, words });
  }

  inbox.onmessage = ({ data }) => {
    if (asks.get(data.me)?.asking > data.asking) return; // messages may overtake each other
    asks.set(data.me, data);
    if (place !== null) answer(data);
    wake?.();
  };
  signal.addEventListener("abort", () => wake?.());
  say(`${name} news`, null);
  try {
    const tell = (...news) => say(`${name} news`, news);
    for await (const words of follow(subscription.cursor ?? "latest", {}, tell)) {
      let before = place;
      for (const word of words) {
        place = placeAfter(place, word);
        before ??= place;
        isOver ||= word[0] === "end";
      }
      if (place === null) continue;
      if (compare(before, place) === undefined) before = place;
      kept.push({ before, after: place, words, size: words.size ?? 0 });
      bytes += words.size ?? 0;
      while (kept.length > 1 && (bytes > MOST_KEPT_BYTES || compare(kept[0].after, place) === undefined)) {
        bytes -= kept.shift().size;
        first++;
      }
      for (const ask of asks.values()) answer(ask);
      while ((isOver || !asks.size) && !signal.aborted) await new Promise((resolve) => { wake = resolve; });
    }
  } finally {
    inbox.close();
  }
}
