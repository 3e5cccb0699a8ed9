// The page at /ui/demo.html: the demo's five feeds.
// A browser allows six connections per origin over HTTP/1.1. Here are four: one for prices, logs and announcements, one
// for the tokens' stream of the moment, one of binary frames for the sensor, one for a file; tabs share the first three.

import { digest } from "./digest.js";
import { $, Tape, draw, element } from "./dom.js";
import { Feed, happened, listener, showCursorOf, state } from "./page.js";

const KEEP_LINES = 200, KEEP_POINTS = 80, KEEP_SYMBOLS = 50, KEEP_SAMPLES = 1280, KEEP_CHARACTERS = 20_000;
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const SETTLE_MS = 150; // of several announcements at once, the newest counts
const LEVELS = new Set(["DEBUG", "INFO", "WARN", "ERROR"]);
const streamPath = (name) => `/v1/streams/${encodeURIComponent(name)}`;

// Prices: a row for each symbol, updated in place.
const prices = new Map(), changed = new Set();

function onPrice({ key, value: { price, change, volume } }) {
  if (!key || ![price, change, volume].every(Number.isFinite)) throw new TypeError("not a price");
  if (!prices.has(key)) {
    if (prices.size >= KEEP_SYMBOLS) return;
    prices.set(key, { key, points: [], row: null });
  }
  const one = prices.get(key);
  Object.assign(one, { price, change, volume });
  one.points.push(price);
  if (one.points.length > KEEP_POINTS) one.points.shift();
  changed.add(one);
  draw(drawPrices);
}

function drawPrices() {
  for (const one of changed) {
    one.row ??= priceRow(one.key);
    const { cells } = one.row, { price, change, volume, points } = one;
    cells[1].textContent = price.toFixed(2);
    cells[2].textContent = `${change >= 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(3)} %`;
    cells[2].className = change >= 0 ? "up" : "down";
    cells[3].textContent = volume;
    const low = Math.min(...points), span = Math.max(...points) - low || 1, first = KEEP_POINTS - points.length;
    const line = points.map((point, at) =>
      `${(((first + at) / (KEEP_POINTS - 1)) * 100).toFixed(1)},${(18 - ((point - low) / span) * 16).toFixed(1)}`);
    cells[4].querySelector("polyline").setAttribute("points", line.join(" "));
  }
  changed.clear();
}

function priceRow(key) {
  const row = element("tr"), symbol = element("th", key), graph = element("td", undefined, "graph");
  symbol.scope = "row";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "polyline"));
  graph.append(svg);
  row.append(symbol, element("td"), element("td"), element("td"), graph);
  const next = [...$("prices").rows].find((other) => other.cells[0].textContent > key);
  $("prices").insertBefore(row, next ?? null);
  return row;
}

// Tokens: a stream for each answer. It is followed to its end, which the service tells.
const tokens = { feed: null, announced: null, text: "", count: 0, began: 0, ended: false };

function onAnnounced({ value }) {
  if (typeof value?.stream !== "string") throw new TypeError("not an announcement");
  if (!tokens.announced) setTimeout(followTokens, SETTLE_MS);
  tokens.announced = value;
}

function followTokens() {
  const { stream, prompt } = tokens.announced;
  tokens.feed?.stop();
  Object.assign(tokens, { announced: null, prompt, text: "", count: 0, began: performance.now(), ended: false });
  const onToken = ({ value }) => {
    tokens.text = (tokens.text + value).slice(-KEEP_CHARACTERS);
    tokens.count += 1;
    draw(drawTokens);
  };
  const onEnd = ({ cursor }) => {
    tokens.ended = true;
    happened(`${stream}: ended at ${cursor}`, "ended");
    draw(drawTokens);
  };
  tokens.feed = new Feed(streamPath(stream), { view: "value", from: "earliest", ...listener(stream, onToken, { onEnd }) });
  tokens.stream = stream;
  if (!isPaused) tokens.feed.start();
  draw(drawTokens);
}

function drawTokens() {
  $("tokens-stream").textContent = tokens.stream;
  $("tokens-prompt").textContent = tokens.prompt ?? "";
  $("tokens").textContent = tokens.text;
  $("tokens").classList.toggle("writing", !tokens.ended);
  const said = `${tokens.count} tokens`;
  $("tokens-end").textContent = tokens.ended ? `ended after ${said}` : said;
  $("tokens-end").classList.toggle("good", tokens.ended);
}

// Logs.
const logs = new Tape($("logs"), KEEP_LINES);

function onLog({ value, time }) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  logs.add(() => {
    const level = text.split(" ", 1)[0], line = element("li", undefined, LEVELS.has(level) ? level : "");
    line.append(element("time", time.toISOString().slice(11, 19)), element("span", text));
    return line;
  });
}

// Sensor: bytes that are little-endian 32-bit floats.
const sensor = { samples: [], count: 0 };

function onFrame({ value }) {
  if (!(value instanceof Uint8Array)) throw new TypeError("not samples");
  const view = new DataView(value.buffer), whole = value.length - (value.length % 4);
  for (let at = 0; at < whole; at += 4) sensor.samples.push(view.getFloat32(at, true));
  sensor.count += whole / 4;
  if (sensor.samples.length > 2 * KEEP_SAMPLES) sensor.samples.splice(0, sensor.samples.length - KEEP_SAMPLES);
  draw(drawSensor);
}

function drawSensor() {
  const canvas = $("sensor"), ratio = devicePixelRatio || 1, colours = getComputedStyle(document.documentElement);
  const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.lineWidth = ratio;
  context.strokeStyle = colours.getPropertyValue("--line");
  for (const level of [0.25, 0.5, 0.75]) context.strokeRect(-ratio, Math.round(height * level), width + 2 * ratio, 0);
  context.strokeStyle = colours.getPropertyValue("--accent");
  context.lineWidth = 1.5 * ratio;
  context.lineJoin = "round";
  context.beginPath();
  const samples = sensor.samples.slice(-KEEP_SAMPLES), first = KEEP_SAMPLES - samples.length;
  samples.forEach((sample, at) =>
    context.lineTo(((first + at) / (KEEP_SAMPLES - 1)) * width, height / 2 - sample * height * 0.47));
  context.stroke();
  $("sensor-count").textContent = sensor.count.toLocaleString("en");
}

// Files: fetched as chunked bytes, checked, shown.
const files = { announced: null, url: "" };

function onFile({ value }) {
  const { stream, size } = value;
  if (typeof stream !== "string" || !(size <= MAX_FILE_BYTES)) throw new TypeError("not a file to show");
  if (!files.announced) setTimeout(fetchFile, SETTLE_MS);
  files.announced = value;
}

async function fetchFile() {
  const { stream, name, size, sha256 } = files.announced;
  files.announced = null;
  $("file-stream").textContent = stream;
  fileState(`${name}: fetching ${size.toLocaleString("en")} bytes`);
  try {
    const response = await fetch(`${streamPath(stream)}?format=chunked&from=earliest&must_exist=1`);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const bytes = await response.arrayBuffer(), found = await digest(bytes);
    showPicture(bytes, name);
    const said = found === null ? "SHA-256 not checked: browsers do that on localhost and over https alone"
      : found === sha256 ? "SHA-256 as announced" : "SHA-256 differs";
    fileState(`${name}: ${bytes.byteLength.toLocaleString("en")} bytes, ${said}`, found === null ? "" : found === sha256 ? "good" : "bad");
    $("file-digest").textContent = found ?? sha256;
  } catch (error) {
    fileState(`${name}: ${error.message}`, "bad");
  }
}

function showPicture(bytes, name) {
  const image = $("file");
  if (files.url) URL.revokeObjectURL(files.url);
  files.url = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  Object.assign(image, { src: files.url, alt: `${name}, a picture made by the demo`, hidden: false });
}

function fileState(text, className = "") {
  $("file-state").textContent = text;
  $("file-state").className = `foot ${className}`;
}

// The page.
const FEEDS = { "demo.prices": onPrice, "demo.logs": onLog, "demo.tokens": onAnnounced, "demo.files": onFile };

function followFeeds() {
  const query = new URLSearchParams(Object.keys(FEEDS).map((name) => ["stream", name]));
  const onRecord = (record) => FEEDS[record.stream](record);
  const feeds = new Feed(`/v1/subscribe?${query}`, { from: -600, ...listener("feeds", onRecord, { onState: state }) });
  const frames = new Feed(streamPath("demo.sensor"), { format: "binary", from: -40, ...listener("demo.sensor", onFrame) });
  showCursorOf(feeds);
  return [feeds, frames];
}

const feeds = followFeeds();
let isPaused = false;

$("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  $("pause").textContent = isPaused ? "Resume" : "Pause";
  const all = tokens.feed && !tokens.ended ? [...feeds, tokens.feed] : feeds;
  for (const one of all) isPaused ? one.stop() : one.start();
  if (isPaused) state("paused");
});

$("curl").textContent = `curl -N '${location.origin}${streamPath("demo.prices")}'`;
for (const one of feeds) one.start();
