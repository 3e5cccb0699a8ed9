// Reads with client.js and prints what comes, one JSON line each: {"record"}, {"gap"}, {"end"}, {"state"}, {"error"},
// at the end {"over"}. Types that JSON does not have are shown as {"bigint"}, {"bytes"}, {"date"}, {"float"}.
// usage: node client.mjs OPTIONS
//   OPTIONS: a JSON object of the options of `subscribe`, and
//   url; onRecord: true (callbacks instead of iteration); stopAfter: records, and how: break | close | abort;
//   pauseAfter: records, after which it prints {"paused"} and waits for a line on standard input;
//   tokens: what the token function gives, one a call (it prints {"asked": isRefused}); quiet: count records only
import { createInterface } from "node:readline";
import { subscribe, RatError } from "../../../ratsvc/web/client/client.js";

const { url, onRecord, stopAfter, how, pauseAfter, tokens, quiet, ...options } = JSON.parse(process.argv[2]);
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

function shown(value) {
  if (typeof value === "bigint") return { bigint: String(value) };
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (value instanceof Date) return { date: value.toISOString() };
  if (typeof value === "number" && !Number.isFinite(value)) return { float: String(value) };
  if (Array.isArray(value)) return value.map(shown);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, shown(v)]));
  return value;
}

const control = new AbortController();
options.signal = control.signal;
if (tokens) options.token = (isRefused) => {
  say({ asked: isRefused });
  return tokens.shift();
};
let count = 0;
const input = createInterface({ input: process.stdin });

async function take(record) {
  count++;
  if (!quiet) say({ record: shown(record) });
  if (count === pauseAfter) {
    say({ paused: true });
    await new Promise((resolve) => input.once("line", resolve));
  }
  if (count !== stopAfter) return false;
  if (how === "close") subscription.close();
  if (how === "abort") control.abort();
  return how === "break";
}

const subscription = subscribe(url, {
  ...options,
  ...(onRecord && { onRecord: take }),
  onGap: (gap) => say({ gap, cursor: subscription.cursor }),
  onEnd: (end) => say({ end }),
  onState: (state, detail) => say({ state, reason: detail?.reason, wait: detail?.wait }),
});

try {
  if (onRecord) await subscription.done;
  else for await (const record of subscription) if (await take(record)) break;
} catch (error) {
  const { name, message, status, type, detail } = error;
  say({ error: { name, message, status, type, detail, isRatError: error instanceof RatError } });
}
say({ over: { count, cursor: subscription.cursor, state: subscription.state } });
input.close();
