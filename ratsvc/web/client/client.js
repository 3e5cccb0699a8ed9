// ratsvc-client: reads streams of a ratsvc service in browsers and in Node.js 20 or newer. See client.d.ts.
//
// One connection at a time, over fetch. It reads on only when its reader asks for more, so a slow reader holds back
// the service and not this page's memory. After any break it comes back with its cursor: no loss, no repeat; what
// the service can no longer give is said as a gap. The cursor moves with each record that is given out, with
// heartbeats, and with a gap into another epoch; never with another gap (records of other streams that it covers may
// follow).
//
// Inside, what comes is a list of words, [kind, body]: record, moved, gap, end, reconnect or retry. `sseReader` and
// `binaryReader` make words from bytes and do no I/O; `follow` connects and reconnects; `records` gives out.
// It is kept under 8 KB minified: what only some pages need (sharing between tabs) is loaded when it is asked for.


/** The service refused, or what it sent makes no sense. */
export class RatError extends Error {
  constructor(status, { detail = `HTTP ${status}`, type = "about:blank" }) {
    super(detail);
    Object.assign(this, { name: "RatError", status, type, detail });
  }
}

function check(isGood) {
  if (!isGood) throw new RangeError("cut short, too large or unknown");
}

const last = (list) => list.at(-1);

// Integers: BigInt where a number would not be exact, or always.
const exact = (isBig) => (value) => {
  const number = Number(value);
  return !isBig && Number.isSafeInteger(number) ? number : BigInt(value);
};

// JSON with exact integers: JSON.parse would round them, so they pass through it as strings that no text begins with.
const TAG = `\ue000${Math.random()}:`;
const JSON_TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

const jsonReader = (isBig) => (source) => isBig || /\d{16}/.test(source)
  ? JSON.parse(source.replace(JSON_TOKEN, (token) => (/^-?\d+$/.test(token) ? `"${TAG}${token}"` : token)),
    (_, value) => (value?.startsWith?.(TAG) ? exact(isBig)(value.slice(TAG.length)) : value))
  : JSON.parse(source);

// Server-Sent Events. Their lines end with LF; those of a proxy may with CR LF.
function sseReader(isBig, maxBytes, view) {
  const decoder = new TextDecoder(), json = jsonReader(isBig);
  let rest = "", size = 0, data = [], event = "", id, isMoved;

  const record = (source) => {
    if (view === "value") return { cursor: id, event, value: source };
    const found = { key: "", event: "", headers: {}, ...json(source) };
    return { ...found, offset: BigInt(found.offset), time: new Date(found.time) };
  };

  return (bytes) => {
    const words = [], came = decoder.decode(bytes, { stream: true });
    rest += came;
    check((size += came.length) <= maxBytes); // of what is not a whole event yet
    if (!came.includes("\n")) return words;
    const lines = rest.split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line) {
        const [, field, value] = /([^:]*):? ?(.*)/s.exec(line);
        if (field === "data") data.push(value);
        if (field === "event") event = value;
        if (field === "id") isMoved = id = value;
        if (field === "retry") words.push([field, +value]);
        continue;
      }
      const source = data.join("\n");
      if (data.length) words.push(/^(gap|end|reconnect)$/.test(event) ? [event, JSON.parse(source)] : ["record", record(source)]);
      else if (isMoved) words.push(["moved", { cursor: id }]);
      data = [];
      event = isMoved = "";
      size = rest.length;
    }
    return words;
  };
}

// rat.v1.Frame messages, each after its length as a varint. Their values are trees of messages, MessagePack or JSON.
function binaryReader(isBig, maxBytes) {
  const MOST_DEPTH = 64;
  const integer = exact(isBig), json = jsonReader(isBig), utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let held = new Uint8Array(1024), size = 0, epoch;

  const text = (bytes) => utf8.decode(bytes);
  const date = (seconds, nanos) => new Date(Number(seconds) * 1000 + Math.floor(Number(nanos) / 1e6));

  function unpack(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    // An unsigned, signed or floating number of 2 ** power bytes.
    const number = (power, kind = "Uint") => {
      const bits = 8 << power;
      at += bits / 8;
      return view[`get${bits > 32 && kind !== "Float" ? "Big" : ""}${kind}${bits}`](at - bits / 8);
    };
    const take = (size) => bytes.subarray(at, (at += size)); // one that is cut short is found out in the end
    const list = (size, item) => {
      const items = [];
      while (size-- > 0) items.push(item());
      return items;
    };
    const timestamp = (size) => {
      check(number(0) === 255);
      if (size === 4) return date(number(2), 0);
      const nanos = size === 8 ? number(3) : number(2);
      if (size === 8) return date(nanos & 0x3ffffffffn, nanos >> 34n);
      check(size === 12);
      return date(number(3, "Int"), nanos);
    };
    const value = (depth) => {
      check(depth < MOST_DEPTH);
      const tag = number(0), inner = () => value(depth + 1);
      // Own properties of any name, also __proto__.
      const map = (size) => Object.fromEntries(list(size, () => [inner(), inner()]));
      if (tag < 0x80) return integer(tag);
      if (tag < 0x90) return map(tag & 15);
      if (tag < 0xa0) return list(tag & 15, inner);
      if (tag < 0xc0) return text(take(tag & 31));
      if (tag < 0xc1) return null;
      check(tag > 0xc1);
      if (tag < 0xc4) return tag > 0xc2;
      if (tag < 0xc7) return take(number(tag - 0xc4)).slice();
      if (tag < 0xca) return timestamp(number(tag - 0xc7));
      if (tag < 0xcc) return number(tag - 0xc8, "Float");
      if (tag < 0xd4) return integer(number(tag & 3, tag < 0xd0 ? "Uint" : "Int"));
      if (tag < 0xd9) return timestamp(1 << (tag - 0xd4));
      if (tag < 0xdc) return text(take(number(tag - 0xd9)));
      if (tag < 0xde) return list(number(tag - 0xdb), inner);
      return tag < 0xe0 ? map(number(tag - 0xdd)) : integer(tag - 256);
    };
    const found = value(0);
    check(at === bytes.length);
    return found;
  }

  // A varint and where it stops; a BigInt only where a number would not be exact.
  function varint(bytes, at) {
    let value = 0, scale = 1, byte;
    do {
      check(at < bytes.length && scale < 2 ** 64);
      byte = bytes[at++];
      value = scale < 2 ** 45 ? value + (byte & 127) * scale : BigInt(value) + BigInt(byte & 127) * BigInt(scale);
      scale *= 128;
    } while (byte > 127);
    return [value, at];
  }

  // The fields of a message: for each number the values that came.
  function message(bytes = []) {
    const found = [];
    for (let at = 0, tag, value; at < bytes.length;) {
      [tag, at] = varint(bytes, at);
      const wire = tag & 7;
      if (wire % 2) value = [, 8, , , , 4][wire];
      else [value, at] = varint(bytes, at);
      if (wire) {
        check(value <= bytes.length - at);
        value = bytes.subarray(at, (at += value));
      }
      (found[tag >>> 3] ??= []).push(value);
    }
    return found;
  }

  const fields = (bytes) => message(bytes).map(last);
  const only = (bytes) => Object.entries(fields(bytes))[0]; // a oneof: its number and value
  const pairs = (list = [], valueOf) => Object.fromEntries(list.map((entry) => {
    const [, key, value] = fields(entry);
    return [text(key), valueOf(value)];
  }));
  const moment = (bytes) => {
    const [, seconds = 0, nanos = 0] = fields(bytes);
    return date(BigInt.asIntN(64, BigInt(seconds)), nanos);
  };

  // What the kinds of a rat.v1.DataValue mean, by the numbers of their fields.
  const kinds = [
    , () => null,
    (value) => value > 0,
    (value) => integer((BigInt(value) >> 1n) ^ -(BigInt(value) & 1n)),
    integer,
    (value) => new DataView(value.slice().buffer).getFloat64(0, true),
    text,
    (value) => value.slice(),
    moment,
    (value, depth) => (message(value)[1] ?? []).map((one) => dataValue(one, depth)),
    (value, depth) => pairs(message(value)[1], (one) => dataValue(one, depth)),
    unpack,
    (value) => json(text(value)),
  ];

  function dataValue(bytes, depth = 0) {
    check(depth < MOST_DEPTH);
    const [kind, value] = only(bytes);
    return kinds[kind](value, depth + 1);
  }

  const record = (stream, offset, point, time, key, event, headers, body) => ["record", {
    stream: text(stream), offset, cursor: `${epoch}-${offset}${point ? `~${point}` : ""}`, time: moment(time),
    key: text(key), event: text(event), headers: pairs(headers, text), ...body,
  }];

  function batch(all) {
    const [, stream, , first = 0, time, , point] = all.map(last), offsets = [];
    for (const some of all[5] ?? []) {
      for (let at = 0, one; at < some.length; offsets.push(one)) [one, at] = varint(some, at);
    }
    return (all[2] ?? []).map((bytes, index) => {
      const parts = message(bytes), [, value, key, event] = parts.map(last);
      const offset = offsets.length ? BigInt(offsets[index]) : BigInt(first) + BigInt(index);
      return record(stream, offset, point, time, key, event, parts[4], { value: dataValue(value) });
    });
  }

  function patch(all) {
    const [, stream, offset, time, key, event] = all.map(last);
    const operations = (all[7] ?? []).map((bytes) => {
      const [, op, path, value] = fields(bytes);
      return { op: text(op), path: text(path), value: value && dataValue(value) };
    });
    return [record(stream, BigInt(offset), 0, time, key, event, all[6], { patch: operations })];
  }

  function frame(bytes) {
    const [name, body] = only(bytes), kind = +name;
    if (kind === 2) return batch(message(body));
    if (kind === 7) return patch(message(body));
    const [, one, two, three, skipped] = fields(body), cursor = text(one);
    if (kind === 1) epoch = text(two);
    if (kind === 3) {
      const reason = "unspecified retention epoch slow purged corrupt".split(" ")[three ?? 0];
      return [["gap", { from: cursor, to: text(two), reason, skipped }]];
    }
    if (kind === 4) return [["end", { cursor, reason: text(two) }]];
    if (kind === 6) return [["reconnect", { cursor, retry_ms: two, reason: text(three) }]];
    check(kind < 6);
    return [["moved", { cursor }]];
  }

  return (bytes) => {
    const total = size + bytes.length, words = [];
    if (total > held.length) {
      const before = held;
      held = new Uint8Array(2 * total);
      held.set(before);
    }
    held.set(bytes, size);
    let at = 0;
    for (let start = 0; ; start = at) {
      let length = 0, scale = 1, byte = 128;
      for (; byte > 127 && start < total; scale *= 128) {
        byte = held[start++];
        length += (byte & 127) * scale;
        check(length <= maxBytes && scale < 2 ** 35);
      }
      if (byte > 127 || start + length > total) break;
      at = start + length;
      for (const word of frame(held.subarray(start, at))) words.push(word);
    }
    held.copyWithin(0, at, total);
    size = total - at;
    return words;
  };
}

// For each format its reader, and what its media type has in it.
const FORMATS = { sse: [sseReader, "event-stream"], binary: [binaryReader, "frames+protobuf"] };

const cursorOf = (from) => (/^[a-z\d]+-\d+(~\d+)?$/.test(from) ? from : null);

// The place after a word. Into another epoch it moves with the gap that says so, not with the start before that gap.
function placeAfter(place, [kind, { cursor, reason, to }]) {
  if (kind === "gap") return reason === "epoch" ? to : place;
  if (kind === "moved" && place && place.split("-")[0] !== cursor.split("-")[0]) return place;
  return cursor ?? place;
}

/** Reads streams. */
export function subscribe(url, options = {}) {
  const HEARTBEAT_S = 15, MOST_SILENT_MS = 2500; // for each second of a heartbeat: then a connection is taken for dead
  const LEAST_WAIT_MS = 50, MOST_BACKOFF_MS = 30_000, MOST_WAIT_MS = 3_600_000;
  const MOST_BYTES = 2 ** 26, MOST_PROBLEM_BYTES = 65_536;
  const {
    format = "sse", view = "record", int64 = format === "binary" ? "bigint" : "number", token, signal, share,
    retry = 1000, retries = Infinity, maxBytes = MOST_BYTES, onRecord, onEnd, onState, onGap = console.warn,
  } = options;
  const [readerOf, media] = FORMATS[format] ?? [];
  if (!media) throw new TypeError("format must be sse or binary");
  const target = new URL(url, globalThis.location?.href), query = target.searchParams;
  const given = options.from ?? query.get("last_event_id") ?? query.get("from") ?? "latest";
  const from = `${given.toISOString?.() ?? given}`;
  query.delete("last_event_id");
  const heartbeat = query.get("heartbeat") ?? HEARTBEAT_S;
  const stops = new Set(), more = () => import("./client-more.js");
  let cursor = cursorOf(from), state = "connecting", isClosed = false;

  function tell(is, detail) {
    if (!/connect|live/.test(state)) return;
    state = is;
    onState?.(is, detail);
  }

  function close() {
    isClosed = true;
    for (const stop of stops) stop();
    items.return();
    tell("closed");
  }

  // What is promised; an Error when it fails or takes too long; undefined once this is closed.
  const attempt = (promise, ms = MOST_SILENT_MS * heartbeat) => new Promise((resolve) => {
    const stop = (value) => {
      clearTimeout(timer);
      stops.delete(stop);
      resolve(value);
    };
    const timer = setTimeout(stop, ms, new Error("no sign of life"));
    stops.add(stop);
    promise?.then(stop, stop);
    if (isClosed) stop();
  });

  async function connect(parameters, isRefused, signal) {
    const word = token?.call ? await token(isRefused) : token, there = new URL(target);
    for (const [name, value] of Object.entries(parameters)) if (value !== null) there.searchParams.set(name, value);
    const answer = await fetch(there, { headers: word ? { Authorization: `Bearer ${word}` } : {}, signal, cache: "no-store" });
    // Here a body that is not read holds back who sends it. Other engines take in all that comes: see there.
    return /Chrom|Node|^u/.test(globalThis.navigator?.userAgent) ? answer : (await more()).ahead(answer);
  }

  // Lists of words from a place on, over as many connections as it takes, until an end.
  async function* follow(start, extra, tell) {
    let place = cursorOf(start), limit = query.get("limit"), backoff = retry, failures = 0, isRefused = false;
    tell("connecting");
    while (!isClosed) {
      const control = new AbortController();
      let wait, reason, came;
      try {
        const parameters = { format, view, heartbeat, ...extra, from: place ?? start, limit };
        came = await attempt(connect(parameters, isRefused, control.signal));
        const { status, headers, body } = came ?? {}, reader = body?.getReader(), type = headers?.get("Content-Type");
        const read = async () => reader && (came = await attempt(reader.read().then(({ value }) => value)))?.buffer;
        if (status === 204) {
          return yield [["end", { cursor: headers.get("Rat-Cursor") ?? place ?? start, reason: "ended" }]];
        }
        if (status === 200 && type) { // a head that was cut has no type
          if (!type.includes(media)) throw new RatError(status, { detail: `it answers with ${type}` });
          if (!headers.has("Rat-Gap")) place ??= headers.get("Rat-Cursor");
          isRefused = false;
          tell("live");
          const take = readerOf(int64 === "bigint", maxBytes, view);
          let size = 0, isOver = false;
          while (!isOver && (await read())) {
            let words;
            try {
              words = came.words ?? take(came);
              for (const word of words) {
                const [kind, body] = word;
                place = placeAfter(place, word);
                if (kind === "record" && limit) limit--;
                if (kind === "retry") backoff = body;
                if (kind === "reconnect") ({ retry_ms: wait, reason } = body);
                isOver ||= kind === "end";
              }
            } catch (error) {
              throw new RatError(status, { detail: `malformed: ${error.message}` });
            }
            size += came.length;
            if (!words.length) continue;
            failures = 0;
            words.size = size;
            yield words;
            size = 0;
          }
          if (isOver) return;
          if (limit === 0) return yield [["end", { cursor: place, reason: "limit" }]];
        } else if (status > 200) {
          let source = "", problem;
          while (source.length < MOST_PROBLEM_BYTES && (await read())) source += new TextDecoder().decode(came);
          try {
            problem = JSON.parse(source);
          } catch { /* not of the service: the status has to do */ }
          came = new RatError(status, problem ?? {});
          if (status === 401 && token?.call && !isRefused) {
            isRefused = true;
            continue;
          }
          if (status < 500 && !/408|42[59]/.test(status)) throw came;
          wait = 1000 * headers.get("Retry-After") || undefined;
        }
      } finally {
        control.abort();
      }
      if (isClosed) return;
      if (!(came instanceof Error)) came = new Error("the connection ended");
      if (!reason && ++failures > retries) throw came;
      wait ??= Math.min(backoff * 2 ** (failures - 1), MOST_BACKOFF_MS);
      wait = Math.min(Math.max(wait || 0, LEAST_WAIT_MS), MOST_WAIT_MS) * (1 + Math.random() / 2);
      tell("reconnecting", { reason: reason ?? came.message, wait });
      await attempt(null, wait);
    }
  }

  async function* records() {
    try {
      let lists = follow(from, {}, tell);
      if (share || query.has("delta")) lists = (await more()).more(
        lists, RatError, options, [share, target, format, view, int64], query,
        subscription, from, follow, placeAfter, attempt, stops, tell,
      );
      for await (const words of lists) {
        for (const word of words) {
          if (isClosed) return;
          const [kind, body] = word;
          cursor = placeAfter(cursor, word);
          if (kind === "record") yield body;
          if (kind === "gap") await onGap(body);
          if (kind === "end") {
            tell("ended", body);
            await onEnd?.(body);
            return;
          }
        }
      }
    } catch (error) {
      tell("failed", { reason: error.message, error });
      throw error;
    } finally {
      close();
    }
  }

  const items = records();
  const subscription = {
    get cursor() {
      return cursor;
    },
    get state() {
      return state;
    },
    close,
    done: onRecord && (async () => {
      await null; // what is returned here comes before what is called back
      for await (const record of items) await onRecord(record);
    })(),
    [Symbol.asyncIterator]: () => items,
  };
  signal?.addEventListener("abort", close);
  stops.add(() => signal?.removeEventListener("abort", close));
  if (signal?.aborted) close();
  return subscription;
}
