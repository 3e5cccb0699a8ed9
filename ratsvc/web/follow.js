// Following streams and coming back with the cursor: EventFollower over EventSource, LineFollower over fetch and
// JSON lines (which also gives records of every event type, and the cursor before the first record).
// Both: start(), stop(), start() again goes on after the last record that was given out: no loss, no repeat.
// What happens is told to a listener: record(data, event), state(is, detail), gap(gap), end(end), reconnect(word);
// `is` is one of connecting, live, reconnecting, ended, refused.

const RETRY_MS = 2000;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What an answer other than 200 means. 204 says that the streams have ended and nothing is left.
async function meaning(response) {
  if (response.status === 204) return { is: "ended" };
  if (response.ok) return { is: "reconnecting" };
  const problem = await response.json().catch(() => null);
  const isLater = response.status >= 500 || response.status === 429;
  return { is: isLater ? "reconnecting" : "refused", detail: problem?.detail ?? `HTTP ${response.status}` };
}

class Follower {
  constructor(path, query, from, listener) {
    Object.assign(this, { path, query, from, listener, cursor: "" });
  }

  url() {
    return `${this.path}?${new URLSearchParams([...this.query, ["from", this.cursor || this.from]])}`;
  }

  stop() {
    this.control?.abort();
  }
}

export class EventFollower extends Follower {
  // `types` are the event types to take beside those without one: EventSource gives no others.
  constructor(path, query, from, listener, types = []) {
    super(path, query, from, listener);
    this.types = types;
  }

  start() {
    const control = this.control = new AbortController();
    this.listener.state("connecting");
    this.open(control.signal);
  }

  open(signal) {
    const source = new EventSource(this.url());
    const on = (type, take) => source.addEventListener(type, (event) => {
      this.cursor = event.lastEventId || this.cursor;
      take(event);
    });
    signal.addEventListener("abort", () => source.close());
    for (const type of ["message", ...this.types]) on(type, (event) => this.listener.record(event.data, event));
    on("gap", (event) => this.listener.gap(JSON.parse(event.data)));
    on("reconnect", (event) => this.listener.reconnect(JSON.parse(event.data)));
    on("end", (event) => {
      source.close();
      this.listener.state("ended");
      this.listener.end(JSON.parse(event.data));
    });
    source.onopen = () => this.listener.state("live");
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) this.reopen(signal);
      else this.listener.state("reconnecting");
    };
  }

  // EventSource gives up at any status but 200, and does not say which it was: ask.
  async reopen(signal) {
    let found = { is: "reconnecting" };
    try {
      const response = await fetch(this.url(), { signal, headers: { Accept: "text/event-stream" } });
      found = await meaning(response);
      if (response.ok) await response.body?.cancel();
    } catch { /* not reachable: later */ }
    if (signal.aborted) return;
    this.listener.state(found.is, found.detail);
    if (found.is !== "reconnecting") return;
    await sleep(RETRY_MS);
    if (!signal.aborted) this.open(signal);
  }
}

export class LineFollower extends Follower {
  async start() {
    const { signal } = this.control = new AbortController();
    this.listener.state("connecting");
    while (!signal.aborted) {
      this.retry = RETRY_MS;
      let found = { is: "reconnecting" };
      try {
        const response = await fetch(this.url(), { signal, headers: { Accept: "application/x-ndjson" } });
        found = response.status === 200 ? await this.read(response, signal) : await meaning(response);
      } catch { /* cut, or not reachable: later */ }
      if (signal.aborted) return;
      this.listener.state(found.is, found.detail);
      if (found.is !== "reconnecting") return;
      await sleep(this.retry);
    }
  }

  async read(response, signal) {
    this.cursor ||= response.headers.get("Rat-Cursor");
    this.listener.state("live");
    for await (const line of lines(response.body)) {
      if (signal.aborted) break;
      const word = JSON.parse(line);
      if (word.end) {
        this.listener.end(word.end);
        return { is: "ended" };
      }
      this.take(word);
    }
    return { is: "reconnecting" };
  }

  take(word) {
    if (word.stream) {
      this.cursor = word.cursor;
      this.listener.record(word);
    } else if (word.heartbeat) {
      this.cursor = word.heartbeat.cursor;
    } else if (word.gap) {
      // Records of other streams that it covers may follow; only another epoch makes the place useless.
      this.cursor = word.gap.reason === "epoch" ? word.gap.to : word.gap.from;
      this.listener.gap(word.gap);
    } else if (word.reconnect) {
      this.retry = word.reconnect.retry_ms;
      this.listener.reconnect(word.reconnect);
    }
  }
}

// The lines of a body; one that was cut short is left out, and comes again after the cursor.
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      yield* parts.filter(Boolean);
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
