// One connection for all tabs of an origin that read the same: loaded by client.js when `share` is asked for.
//
// The tab that holds a lock follows the streams, and keeps the newest lists of words. Every tab, itself too, asks it
// for what comes next, one list at a time, and reads what is not kept there over a short connection of its own. The
// socket is read only while some tab waits for more: the quickest sets the pace, a tab that does not ask is sent
// nothing, and nothing is kept but MOST_KEPT_BYTES. When the tab goes, the browser gives its lock to another, which
// follows from its own place; the others ask it from theirs.

const MOST_KEPT_BYTES = 4 * 1024 * 1024, RETRY_MS = 1000;

// How a cursor is to another: undefined where it is of another epoch, else below, at or above 0.
function compare(one, other) {
  const [epoch, offset] = one.split("-"), [otherEpoch, otherOffset] = other.split("-");
  return epoch === otherEpoch ? Number(BigInt(offset) - BigInt(otherOffset)) : undefined;
}

/** Lists of words, as `follow` gives them; undefined where tabs cannot share, or have nothing to share. */
export function shared(own, key) {
  const { query } = own, isPart = query.has("limit") || query.has("until");
  return globalThis.navigator?.locks && !isPart ? lists(own, `ratsvc ${key.join(" ")}`) : undefined;
}

// A word for all who listen at a name.
function say(name, word) {
  const channel = new BroadcastChannel(name);
  channel.postMessage(word);
  channel.close();
}

async function* lists({ follow, attempt, stops, tell, placeAfter, subscription, from, query }, name) {
  const me = crypto.randomUUID(), answers = new BroadcastChannel(name + me), news = new BroadcastChannel(`${name} news`);
  const isLatest = from === "latest" && !query.has("snapshot"), closing = new AbortController();
  let seat = {}, asking = 0, failure, wake;
  const close = () => closing.abort();
  const ask = () => say(`${name} asks`, { me, asking, cursor: subscription.cursor, isLatest, ...seat });
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
        const isSeated = seat.leader === answer.leader || past === null;
        seat = { leader: answer.leader, next: answer.next };
        yield isSeated ? answer.words : answer.words.filter(([kind, { cursor }]) => kind !== "record" || !(compare(cursor, past) <= 0));
        continue;
      }
      seat = {};
      for await (const words of follow(past ?? from, past ? { until: "now", snapshot: "" } : { until: "now" }, tell)) {
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
    asks.set(data.me, data);
    if (place !== null) answer(data);
    wake?.();
  };
  signal.addEventListener("abort", () => wake?.());
  say(`${name} news`, null);
  try {
    const tell = (...news) => say(`${name} news`, news);
    for await (const words of follow(subscription.cursor ?? "latest", { snapshot: "" }, tell)) {
      const before = place;
      for (const word of words) {
        place = placeAfter(place, word);
        isOver ||= word[0] === "end";
      }
      if (place === null) continue;
      const isSame = before !== null && compare(before, place) !== undefined;
      kept.push({ before: isSame ? before : place, after: place, words, size: words.size ?? 0 });
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
