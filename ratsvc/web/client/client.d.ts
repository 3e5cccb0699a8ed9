/** A value as `format: "binary"` brings it. With `format: "sse"` values are what JSON can say. */
export type DataValue =
  | null | boolean | number | bigint | string | Uint8Array | Date | DataValue[] | { [key: string]: DataValue };

/** A published item. With `format: "sse", view: "value"` it has only `cursor`, `event` and `value`, as text. */
export interface StreamRecord<T = DataValue> {
  /** The stream's name. */
  readonly stream: string;
  /** Its place in the log; exact, also beyond 2^53. */
  readonly offset: bigint;
  /** The place after it: where `from` goes on. */
  readonly cursor: string;
  /** When it was committed, cut to the millisecond. */
  readonly time: Date;
  /** Its key, or "". */
  readonly key: string;
  /** Its event type, or "". */
  readonly event: string;
  readonly headers: { readonly [name: string]: string };
  readonly value: T;
}

/** What `view: "value"` leaves of a record over SSE. */
export interface ValueRecord {
  readonly cursor: string;
  readonly event: string;
  /** A string value as it is, anything else as its JSON: what EventSource has in `event.data`. */
  readonly value: string;
}

/** Records that can no longer be had: those after `from`, up to `to`. */
export interface Gap {
  readonly from: string;
  readonly to: string;
  readonly reason: "retention" | "epoch" | "slow" | "purged" | "corrupt" | "unspecified";
  /** How many, where that is known. */
  readonly skipped?: number;
}

/** Nothing more comes. */
export interface End {
  readonly cursor: string;
  readonly reason: "ended" | "deleted" | "limit" | "until";
}

/** `ended`, `failed` and `closed` are final. */
export type State = "connecting" | "live" | "reconnecting" | "ended" | "failed" | "closed";

export interface StateDetail {
  /** Why it reconnects or failed; of an end: why it came. */
  readonly reason?: string;
  /** How long it waits before it reconnects, in milliseconds. */
  readonly wait?: number;
  /** What made it fail. */
  readonly error?: unknown;
  /** The end's cursor. */
  readonly cursor?: string;
}

export interface Options<R = StreamRecord> {
  /** `binary` keeps types; `sse`, the default, is JSON. */
  format?: "sse" | "binary";
  /** Over SSE: all of each record (the default), or its value alone as text. `binary` always brings all. */
  view?: "record" | "value";
  /**
   * Integers: always BigInt (`bigint`, the default of `binary`, so that 1 and 1.0 differ), or numbers, and BigInt only
   * where a number would not be exact (`number`, the default of `sse`).
   */
  int64?: "bigint" | "number";
  /** Where to start: `latest` (the default), `earliest`, a cursor, an RFC 3339 time or a Date, or -N: the last N. */
  from?: string | number | Date;
  /** Sent as `Authorization: Bearer`. A function is called before each connection, with true after a 401. */
  token?: string | ((isRefused: boolean) => string | null | undefined | Promise<string | null | undefined>);
  /** Closes the subscription. */
  signal?: AbortSignal;
  /**
   * One connection for all tabs of this origin that read the same URL with the same options, in secure contexts; others
   * have their own. A string names a group: only tabs that give the same share, so one user's tabs.
   */
  share?: boolean | string;
  /** The first wait before it reconnects, in milliseconds, when the service has not said: 1,000. It doubles, up to 30 s. */
  retry?: number;
  /** How many times in a row a connection may fail before that is an error; for ever by default. */
  retries?: number;
  /**
   * With `delta=json-patch`: how many documents are kept, those that changed last; 10,000. When a patch comes for another,
   * a new connection from there brings it whole.
   */
  maxDocuments?: number;
  /** The largest event or frame: 64 MiB. */
  maxBytes?: number;
  /** Called with each record, in order; the next waits for what it returns. Without it, iterate. */
  onRecord?: (record: R) => unknown;
  /** Called with each gap, in order, and waited for; by default a gap is a warning on the console. */
  onGap?: (gap: Gap) => unknown;
  /** Called when the streams have ended, or the read is at its `limit` or `until`. */
  onEnd?: (end: End) => unknown;
  /** Called when the state changes. */
  onState?: (state: State, detail?: StateDetail) => void;
}

export interface Subscription<R = StreamRecord> extends AsyncIterable<R> {
  /** The place after the last record that was given out: `from: cursor` goes on there. */
  readonly cursor: string | null;
  readonly state: State;
  /** With `onRecord`: settles when it is over, with the error when it failed. */
  readonly done: Promise<void> | undefined;
  /** Ends it; iteration stops without an error. */
  close(): void;
  [Symbol.asyncIterator](): AsyncGenerator<R, void, undefined>;
}

/** The service refused (its status and problem type), or what it sent makes no sense (status 200). After `retries` lost
 * connections the error is the platform's own, a TypeError for instance. */
export class RatError extends Error {
  readonly name: "RatError";
  /** The HTTP status. */
  readonly status: number;
  /** The problem's type (RFC 9457). */
  readonly type: string;
  /** What is wrong. */
  readonly detail: string;
}

/**
 * Reads streams: `for await (const record of subscribe("/v1/streams/prices"))`.
 *
 * It reconnects with its cursor after any break, without loss or repeat. It ends with the streams, with its `limit` or
 * `until` (in the URL's query, as everything else that the service takes: `key`, `event`, `snapshot`, `delta`, `overflow`,
 * `heartbeat`, `must_exist`), when `signal` aborts, and when the loop is left.
 *
 * @throws {RatError} while iterating, or from `done`: a status that will not change (4xx but 408, 425 and 429), or
 * bytes that make no sense.
 */
export function subscribe(
  url: string | URL, options: Options<ValueRecord> & { view: "value"; format?: "sse" },
): Subscription<ValueRecord>;
export function subscribe<T = DataValue>(
  url: string | URL, options?: Options<StreamRecord<T>>,
): Subscription<StreamRecord<T>>;
