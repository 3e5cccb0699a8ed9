// Checked by tsc alone: what a program may write, and, after @ts-expect-error, what it may not.
import { RatError, subscribe } from "ratsvc-client";
import type { DataValue, End, Gap, State, StreamRecord, Subscription } from "ratsvc-client";

interface Price { price: number; volume: bigint }

export async function iterate(): Promise<bigint> {
  let volume = 0n;
  try {
    for await (const record of subscribe<Price>("/v1/streams/prices", { format: "binary", from: -10 })) {
      volume += record.value.volume;
      const when: Date = record.time, offset: bigint = record.offset, key: string = record.key;
      console.log(when, offset, key);
    }
  } catch (error) {
    if (error instanceof RatError && error.status === 404) console.log(error.type, error.detail);
    else throw error;
  }
  return volume;
}

export function callbacks(signal: AbortSignal): Subscription<StreamRecord<Price>> {
  return subscribe<Price>(new URL("https://example.com/v1/streams/prices"), {
    signal, share: "user", token: async (isRefused) => (isRefused ? "new" : "old"), retry: 10, retries: 3,
    from: new Date(), int64: "number", maxBytes: 1024, maxDocuments: 100, view: "record",
    onRecord: (record) => console.log(record.value.price),
    onGap: (gap: Gap) => console.log(gap.skipped ?? "?", gap.reason === "epoch"),
    onEnd: (end: End) => console.log(end.cursor),
    onState: (state: State, detail) => console.log(state, detail?.wait, detail?.reason),
  });
}

export async function text(): Promise<string> {
  const subscription = subscribe("/v1/streams/tokens", { view: "value" });
  let all = "";
  for await (const record of subscription) all += record.value;
  const cursor: string | null = subscription.cursor, done: Promise<void> | undefined = subscription.done;
  console.log(cursor, done);
  return all;
}

export async function unknown(): Promise<DataValue[]> {
  const values: DataValue[] = [];
  for await (const { value } of subscribe("/v1/streams/any")) values.push(value);
  return values;
}

// @ts-expect-error: no such format
subscribe("/v1/streams/s", { format: "xml" });
// @ts-expect-error: a state is not a number
subscribe("/v1/streams/s", { onState: (state: number) => state });
// @ts-expect-error: the value view has no key
subscribe("/v1/streams/s", { view: "value", onRecord: (record) => record.key });
