// The service's figures, sampled once a second: rates and quantiles are what lies between two samples, so the service
// computes none of them. The newest KEEP samples are kept.

export const KEEP = 900;
const EVERY_MS = 1000, TIMEOUT_MS = 5000, LATENCY_SAMPLES = 10;

export const samples = [];
export let latest = null; // the status as it came; null while the service cannot be reached
const watchers = new Set(), raw = [];

// Calls `watcher(sample, status)` with each sample; both are null when the service does not answer.
export function watch(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export async function getJson(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Accept: "application/json" } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? `HTTP ${response.status}`);
  return body;
}

// Does `work` every `ms`, one at a time, until what it returns is called; at once when the page is looked at again.
export function every(ms, work) {
  let timer = null, isOver = false;
  const run = async () => {
    clearTimeout(timer);
    timer = Infinity;
    try {
      await work();
    } catch { /* the service's state is shown in one place: the top of the page */ }
    if (!isOver) timer = setTimeout(run, ms);
  };
  const seen = () => {
    if (!document.hidden && timer !== Infinity) run();
  };
  document.addEventListener("visibilitychange", seen);
  run();
  return () => {
    isOver = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}

const sum = (object, field) => Object.values(object).reduce((total, one) => total + (field ? one[field] : one), 0);

// The value below which a share of what was observed between two samples of a histogram lies; null without any.
export function quantile(share, before, now) {
  const counts = now.counts.map((count, at) => count - (before?.counts[at] ?? 0));
  const wanted = share * counts.reduce((total, count) => total + count, 0);
  if (!(wanted > 0)) return null;
  let seen = 0;
  for (const [at, count] of counts.entries()) {
    if (count > 0 && seen + count >= wanted) {
      const low = now.bounds[at - 1] ?? 0, high = now.bounds[at] ?? low;
      return low + ((high - low) * (wanted - seen)) / count;
    }
    seen += count;
  }
  return null;
}

function sampled(status) {
  const before = raw.at(-1), { figures, memory, latency } = status;
  raw.push(status);
  if (raw.length > LATENCY_SAMPLES + 1) raw.shift();
  const isSame = before?.started === status.started, took = status.time - (before?.time ?? 0);
  if (!isSame) raw.splice(0, raw.length - 1);
  const rate = (now, then) => (isSame && took > 0 ? Math.max(0, now - then) / took : null);
  const of = (share, name) => (raw.length > 1 ? quantile(share, raw[0].latency[name], latency[name]) : null);
  return {
    time: status.time,
    published: rate(figures.records_total, before?.figures.records_total),
    publishedBytes: rate(figures.bytes_total, before?.figures.bytes_total),
    delivered: rate(sum(status.delivered, "records"), sum(before?.delivered ?? {}, "records")),
    deliveredBytes: rate(sum(status.delivered, "bytes"), sum(before?.delivered ?? {}, "bytes")),
    commits: rate(figures.commits_total, before?.figures.commits_total),
    deliveryHalf: of(0.5, "delivery"),
    deliveryMost: of(0.99, "delivery"),
    commitMost: of(0.99, "commit"),
    live: sum(status.readers, "live"),
    catchingUp: sum(status.readers, "catching_up"),
    resident: memory.resident,
    log: memory.log_bytes,
    tail: memory.tail_bytes,
    queue: memory.queue_bytes,
    queued: figures.queue_records,
    processor: rate(status.cpu_seconds, before?.cpu_seconds),
  };
}

every(EVERY_MS, async () => {
  let sample = null;
  try {
    latest = await getJson("/v1/status");
    sample = sampled(latest);
    samples.push(sample);
    if (samples.length > KEEP) samples.shift();
  } catch {
    latest = null;
  }
  for (const watcher of watchers) watcher(sample, latest);
});
