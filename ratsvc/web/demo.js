// The page at /ui/: the demo's five feeds, or, with ?stream=NAME, the newest records of any stream or pattern.
// One EventSource carries prices, tokens, logs and announcements (a browser allows six connections per origin over
// HTTP/1.1); the sensor and the files are fetched as bytes. Records are kept in arrays and drawn once per frame.
// Whatever comes in records goes into the page as text.

const $ = (id) => document.getElementById(id);
const KEEP_LINES = 200, KEEP_POINTS = 120, KEEP_SAMPLES = 1280, RETRY_MS = 1000;

const stats = { total: 0, recent: [], cursor: "", dirty: new Set() };
let source = null, paused = false, frames = null;

// Following streams as records, from the cursor when there is one.
function follow(patterns, start, onRecord) {
  const query = new URLSearchParams(patterns.map((pattern) => ["stream", pattern]));
  query.set("view", "record");
  query.set("from", stats.cursor || start);
  source = new EventSource(`/v1/subscribe?${query}`);
  source.onopen = () => state("live");
  source.onerror = () => state(source.readyState === EventSource.CLOSED ? "closed" : "reconnecting");
  source.onmessage = (event) => take(event, onRecord);
  source.addEventListener("token", (event) => take(event, onRecord));
  source.addEventListener("gap", (event) => {
    const gap = JSON.parse(event.data);
    stats.cursor = gap.to;
    notice(`A gap (${gap.reason}): the records after ${gap.from} up to ${gap.to} are no longer kept.`);
  });
  source.addEventListener("end", (event) => {
    source.close();
    state("ended");
    notice(`The stream has ended (${JSON.parse(event.data).reason}).`);
  });
  source.addEventListener("reconnect", (event) => {
    const { reason, retry_ms } = JSON.parse(event.data);
    notice(`The service asks to come back in ${(retry_ms / 1000).toFixed(1)} s (${reason}).`);
  });
}

function take(event, onRecord) {
  if (!event.data) return;
  const record = JSON.parse(event.data);
  stats.total += 1;
  stats.cursor = record.cursor;
  stats.recent.push(performance.now());
  onRecord(record);
}

function state(is) {
  $("state").dataset.is = is;
  $("state").textContent = is;
  if (is === "live") $("notice").hidden = true;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = false;
}

function draw(part) {
  if (stats.dirty.size === 0) requestAnimationFrame(drawAll);
  stats.dirty.add(part);
}

function drawAll() {
  const parts = [...stats.dirty];
  stats.dirty.clear();
  for (const part of parts) part();
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Prices: a row for each symbol, updated in place.
const prices = new Map();

function onPrice({ key, value }) {
  if (!prices.has(key)) prices.set(key, { points: [], row: null });
  const one = prices.get(key);
  one.value = value;
  one.points.push(value.price);
  if (one.points.length > KEEP_POINTS) one.points.shift();
  draw(drawPrices);
}

function drawPrices() {
  for (const key of [...prices.keys()].sort()) {
    const one = prices.get(key);
    if (!one.row) {
      one.row = element("tr");
      one.row.append(element("td", key), element("td"), element("td"), element("td"), element("td"));
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 100 20");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
      one.row.cells[4].append(svg);
      $("prices").append(one.row);
    }
    const { price, change, volume } = one.value, { cells } = one.row;
    cells[1].textContent = price.toFixed(2);
    cells[2].textContent = `${change >= 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(3)} %`;
    cells[2].className = change >= 0 ? "up" : "down";
    cells[3].textContent = volume;
    const low = Math.min(...one.points), span = Math.max(...one.points) - low || 1;
    const points = one.points.map((p, at) =>
      `${((at / (KEEP_POINTS - 1)) * 100).toFixed(1)},${(18 - ((p - low) / span) * 16).toFixed(1)}`);
    cells[4].querySelector("polyline").setAttribute("points", points.join(" "));
  }
}

// Tokens: the text of the newest stream, and its end.
const tokens = { stream: "", text: "", ended: false };

function onAnnounced({ value }) {
  Object.assign(tokens, { stream: value.stream, text: "", ended: false });
  followEnd(value.stream);
  draw(drawTokens);
}

function onToken({ stream, value }) {
  if (!tokens.stream) {
    tokens.stream = stream;
    followEnd(stream);
  }
  if (stream === tokens.stream) tokens.text += value;
  draw(drawTokens);
}

function drawTokens() {
  $("tokens-stream").textContent = tokens.stream;
  $("tokens").textContent = tokens.text;
  $("tokens-end").hidden = !tokens.ended;
}

// A reader of one stream is told its end: the answer to a page with wait.
async function followEnd(stream) {
  for (let from = "latest"; stream === tokens.stream && !paused;) {
    try {
      const response = await fetch(`/v1/streams/${stream}?format=page&from=${from}&wait=10&limit=1000`);
      if (!response.ok) return;
      const page = await response.json();
      from = page.next;
      if (page.ended) {
        tokens.ended = stream === tokens.stream;
        draw(drawTokens);
        return;
      }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

// Logs.
const logs = [];

function onLog({ value }) {
  logs.push(String(value));
  if (logs.length > KEEP_LINES) logs.shift();
  draw(drawLogs);
}

function drawLogs() {
  const list = $("logs");
  list.replaceChildren(...logs.map((line) => element("li", line, /^[A-Z]+/.exec(line)?.[0])));
  list.scrollTop = list.scrollHeight;
}

// Sensor: the chunked bytes are little-endian 32-bit floats, one after the other.
const sensor = { samples: [], count: 0 };

async function followSensor(signal) {
  while (!signal.aborted) {
    try {
      const response = await fetch("/v1/streams/demo.sensor?format=chunked", { signal });
      const reader = response.body.getReader();
      let rest = new Uint8Array(0);
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const bytes = new Uint8Array(rest.length + value.length);
        bytes.set(rest);
        bytes.set(value, rest.length);
        const whole = bytes.length - (bytes.length % 4), view = new DataView(bytes.buffer);
        for (let at = 0; at < whole; at += 4) sensor.samples.push(view.getFloat32(at, true));
        sensor.count += whole / 4;
        sensor.samples.splice(0, sensor.samples.length - KEEP_SAMPLES);
        rest = bytes.slice(whole);
        draw(drawSensor);
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function drawSensor() {
  const canvas = $("sensor"), ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth * ratio, height = canvas.clientHeight * ratio;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  context.lineWidth = 1.5 * ratio;
  context.beginPath();
  sensor.samples.forEach((sample, at) =>
    context.lineTo((at / (KEEP_SAMPLES - 1)) * width, height / 2 - sample * height * 0.45));
  context.stroke();
  $("sensor-count").textContent = sensor.count.toLocaleString("en");
}

// Files: fetched whole as chunked, and checked.
async function onFile({ value }) {
  const { stream, name, size, sha256 } = value;
  $("file-state").textContent = `${name}: fetching ${size.toLocaleString("en")} bytes`;
  try {
    const response = await fetch(`/v1/streams/${stream}?format=chunked&from=earliest`);
    const bytes = await response.arrayBuffer();
    const same = (await digest(bytes)) === sha256;
    const image = $("file"), before = image.src;
    image.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    image.alt = name;
    image.hidden = false;
    if (before) URL.revokeObjectURL(before);
    $("file-state").textContent = `${name}: ${bytes.byteLength.toLocaleString("en")} bytes, SHA-256 ${same ? "equal" : "differs"}`;
    $("file-state").className = `foot ${same ? "good" : "bad"}`;
    $("file-digest").textContent = sha256;
  } catch (error) {
    $("file-state").textContent = `${name}: ${error.message}`;
  }
}

// crypto.subtle is there on localhost and over https alone; elsewhere the digest cannot be checked.
async function digest(bytes) {
  if (!crypto.subtle) return "";
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

// Any stream.
const records = [];

function onAny(record) {
  records.unshift(record);
  records.length = Math.min(records.length, KEEP_LINES);
  draw(drawRecords);
}

function drawRecords() {
  $("any-records").replaceChildren(...records.map((record) => {
    const item = element("li"), about = element("div", undefined, "about");
    about.append(element("div", record.stream), element("div", `${record.cursor} · ${record.time.slice(11, 23)}`));
    const labels = [record.key, record.event].filter(Boolean).join(" · ");
    if (labels) about.append(element("div", labels));
    const { value } = record;
    item.append(about, element("div", typeof value === "string" ? value : JSON.stringify(value, null, 1), "value"));
    return item;
  }));
}

// The page.
const DEMO = ["demo.prices", "demo.logs", "demo.tokens", "demo.tokens.*", "demo.files"];
const HANDLERS = { "demo.prices": onPrice, "demo.logs": onLog, "demo.tokens": onAnnounced, "demo.files": onFile };
const wanted = new URLSearchParams(location.search).getAll("stream");

function start() {
  if (wanted.length > 0) {
    follow(wanted, "-50", onAny);
    return;
  }
  follow(DEMO, "-200", (record) => (HANDLERS[record.stream] ?? onToken)(record));
  frames = new AbortController();
  followSensor(frames.signal);
}

function stop() {
  source?.close();
  frames?.abort();
  state("paused");
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").textContent = paused ? "Resume" : "Pause";
  $("pause").setAttribute("aria-pressed", String(paused));
  if (paused) stop();
  else start();
});

setInterval(() => {
  const since = performance.now() - 2000;
  stats.recent = stats.recent.slice(stats.recent.findIndex((at) => at >= since) >>> 0);
  $("rate").textContent = (stats.recent.length / 2).toLocaleString("en", { maximumFractionDigits: 1 });
  $("total").textContent = stats.total.toLocaleString("en");
  $("cursor").textContent = stats.cursor || "–";
}, 250);

if (wanted.length > 0) {
  $("feeds").hidden = true;
  $("any").hidden = false;
  $("any-name").textContent = wanted.join(", ");
  $("stream").value = wanted[0];
  document.title = `${wanted.join(", ")} · ratsvc`;
}
$("curl").textContent = `curl -N '${location.origin}/v1/streams/${wanted[0] ?? "demo.prices"}'`;
start();
