// The first view: the service in six figures, and its streams with rates, sizes and readers.

import { $, element } from "../dom.js";
import { every, getJson, samples, watch } from "./service.js";
import { ago, bytes, count, seconds, short } from "./text.js";

const EVERY_MS = 1000, LIMIT = 200, TREND = 60, SPARK = 60;
const NAME = "[A-Za-z0-9_-]+";
export const PATTERN = new RegExp(`^(?:>|(?:${NAME}|\\*)(?:\\.(?:${NAME}|\\*)){0,15}(?:\\.>)?)$`);
const SVG = "http://www.w3.org/2000/svg";

export const address = (names) => `/ui/?${new URLSearchParams(names.map((name) => ["stream", name]))}`;

// A line of numbers, from 0 up; null where there is none.
export function spark(className) {
  const svg = document.createElementNS(SVG, "svg"), line = document.createElementNS(SVG, "polyline");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `spark ${className}`);
  svg.append(line);
  return {
    svg,
    draw(numbers, most) {
      const top = Math.max(...numbers, 1e-9), wide = Math.min(most, Math.max(2, numbers.length)) - 1;
      line.setAttribute("points", numbers.map((one, at) =>
        `${((at / wide) * 100).toFixed(1)},${(22 - ((one ?? 0) / top) * 20).toFixed(1)}`).join(" "));
    },
  };
}

const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// The tiles.
const TILES = [
  ["Published", (s) => `${short(s.published ?? NaN)}/s`, (s) => `${bytes(s.publishedBytes ?? 0)}/s in`, "published"],
  ["Delivered", (s) => `${short(s.delivered ?? NaN)}/s`, (s) => `${bytes(s.deliveredBytes ?? 0)}/s out`, "delivered"],
  ["Latency, median", (s) => seconds(s.deliveryHalf ?? NaN), (s) => `99 % below ${seconds(s.deliveryMost ?? NaN)}`, "deliveryHalf"],
  ["Readers", (s) => count(s.live + s.catchingUp), (s) => (s.catchingUp ? `${count(s.catchingUp)} catching up` : s.live ? "all live" : "none connected"), "live"],
  ["Log", (s) => bytes(s.log), (_, status) => `${short(status.figures.log_records)} records, ${status.memory.durable ? "disk" : "memory"}`, "log"],
  ["Memory", (s) => bytes(s.resident), (s) => `CPU ${Math.round(100 * (s.processor ?? 0))} %, queue ${bytes(s.queue)}`, "resident"],
];

const tiles = TILES.map(([label, value, detail, field]) => {
  const tile = element("a", undefined, "tile"), drawn = spark(field);
  tile.href = "/ui/?view=charts";
  const parts = [element("span", label, "label"), element("b", "–"), element("span", "\u00a0", "detail")];
  tile.append(...parts, drawn.svg);
  return { tile, parts, drawn, value, detail, field };
});

function drawTiles(sample, status) {
  for (const { tile, parts, drawn, value, detail, field } of tiles) {
    tile.classList.toggle("stale", !sample);
    if (!sample) continue;
    put(parts[1], value(sample, status));
    put(parts[2], detail(sample, status));
    drawn.draw(samples.slice(-SPARK).map((one) => one[field]), SPARK);
  }
}

// The table.
const rows = new Map();
let after = "", next = null, turns = 0, sort = { by: "name", isDown: false }, stop = null;

const filterText = () => $("streams-filter").value.trim();
const isPattern = (text) => /[*>]/.test(text) && PATTERN.test(text);

async function load() {
  const text = filterText(), query = new URLSearchParams({ limit: LIMIT });
  if (isPattern(text)) query.set("pattern", text);
  if (after) query.set("after", after);
  const turned = turns, page = await getJson(`/v1/streams?${query}`);
  if (turned !== turns) return; // asked for something else meanwhile
  next = page.next;
  const now = performance.now(), seen = new Set();
  for (const one of page.streams) {
    seen.add(one.name);
    update(one, now);
  }
  for (const [name, { row }] of rows) {
    if (seen.has(name)) continue;
    row.remove();
    rows.delete(name);
  }
  draw();
}

function update(info, now) {
  let one = rows.get(info.name);
  if (!one) rows.set(info.name, (one = { ...made(info.name), trend: [], rate: null, byteRate: null }));
  const took = (now - one.at) / 1000, isOn = one.info && info.records_total >= one.info.records_total;
  if (isOn && took > 0) {
    one.rate = (info.records_total - one.info.records_total) / took;
    one.byteRate = (info.bytes_total - one.info.bytes_total) / took;
    one.trend.push(one.rate);
    if (one.trend.length > TREND) one.trend.shift();
  }
  Object.assign(one, { info, at: now });
}

function made(name) {
  const row = element("tr"), head = element("th"), link = element("a", name), drawn = spark("published");
  head.scope = "row";
  link.href = address([name]);
  head.append(link);
  const cells = ["number", "trend", "number narrow", "number", "number", "number", "number narrow"].map((one) => element("td", undefined, one));
  cells[1].append(drawn.svg);
  row.append(head, ...cells);
  return { row, head, cells, drawn };
}

function drawRow({ row, head, cells, drawn, info, rate, byteRate, trend }) {
  put(cells[0], rate === null ? "–" : short(rate));
  drawn.draw(trend, TREND);
  put(cells[2], byteRate === null ? "–" : bytes(byteRate));
  put(cells[3], count(info.records));
  put(cells[4], bytes(info.bytes));
  put(cells[5], count(info.readers));
  put(cells[6], info.updated ? ago(new Date(info.updated)) : "never");
  row.classList.toggle("busy", rate > 0);
  if (info.ended !== head.classList.contains("is-ended")) {
    head.classList.toggle("is-ended", info.ended);
    if (info.ended) head.append(element("span", "ended", "badge"));
    else head.lastChild.remove();
  }
}

const KEYS = {
  name: ({ info }) => info.name,
  rate: ({ rate }) => rate ?? -1,
  byteRate: ({ byteRate }) => byteRate ?? -1,
  records: ({ info }) => info.records,
  bytes: ({ info }) => info.bytes,
  readers: ({ info }) => info.readers,
  updated: ({ info }) => info.updated ?? "",
};

function draw() {
  const text = filterText().toLowerCase(), key = KEYS[sort.by], way = sort.isDown ? -1 : 1;
  const all = [...rows.values()], part = isPattern(text) ? "" : text;
  const shown = part ? all.filter(({ info }) => info.name.toLowerCase().includes(part)) : all;
  const order = (one, other) => (key(one) < key(other) ? -way : key(one) > key(other) ? way : one.info.name < other.info.name ? -1 : 1);
  shown.sort(order).forEach(drawRow);
  const body = $("streams-rows"), wanted = shown.map(({ row }) => row);
  if (wanted.length !== body.rows.length || wanted.some((row, at) => body.rows[at] !== row)) {
    const focused = document.activeElement;
    body.replaceChildren(...wanted);
    if (focused !== document.activeElement && body.contains(focused)) focused.focus({ preventScroll: true });
  }
  const empty = $("streams-empty");
  empty.hidden = wanted.length > 0;
  $("streams").hidden = wanted.length === 0;
  if (!empty.hidden) {
    empty.firstElementChild.textContent = filterText() ? "No stream has that in its name. Enter opens it all the same, and waits for its first record." : "No streams yet. The first publish makes one:";
    empty.lastElementChild.hidden = Boolean(filterText());
    empty.querySelector("code").textContent = `curl -d '{"hello": "world"}' -H 'Content-Type: application/json' ${location.origin}/v1/streams/orders`;
  }
  put($("streams-hint"), filterText() || next ? `${count(wanted.length)} of ${count(rows.size)}${next ? " loaded" : ""}` : `${count(wanted.length)} ${wanted.length === 1 ? "stream" : "streams"}`);
  drawMore();
}

function drawMore() {
  const more = $("streams-more");
  more.hidden = !next && !after;
  if (more.hidden) return;
  const button = (text, to) => {
    const made = element("button", text);
    made.type = "button";
    made.addEventListener("click", () => turn(to));
    return made;
  };
  const parts = [element("span", `${LIMIT} streams at once, by name. A pattern such as prices.> shows others. `)];
  if (after) parts.push(button("First page", ""));
  if (next) parts.push(button(`After ${next}`, next));
  const said = parts.map((part) => part.textContent).join();
  if (more.dataset.said === said) return;
  more.dataset.said = said;
  more.replaceChildren(...parts);
}

function turn(to) {
  after = to;
  restart();
}

function restart() {
  turns++;
  stop?.();
  stop = every(EVERY_MS, load);
}

let wasPattern = "";
$("streams-filter").addEventListener("input", () => {
  const pattern = isPattern(filterText()) ? filterText() : "";
  if (pattern !== wasPattern) {
    wasPattern = pattern;
    turn("");
  } else draw();
});

$("open-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const names = filterText().split(/[\s,]+/).filter(Boolean);
  const found = [...$("streams-rows").rows];
  const name = names.length === 1 && found.length === 1 && !isPattern(names[0]) ? [found[0].querySelector("a").textContent] : names;
  if (name.length) dispatchEvent(new CustomEvent("dashboard:go", { detail: address(name) }));
});

for (const head of $("streams").tHead.rows[0].cells) {
  const by = head.dataset.sort;
  head.querySelector("button")?.addEventListener("click", () => {
    sort = { by, isDown: sort.by === by ? !sort.isDown : by !== "name" };
    for (const other of $("streams").tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sort.isDown ? "descending" : "ascending");
    draw();
  });
}

// Arrow keys go from stream to stream; from the filter, down to the first.
export function arrows(event, links) {
  const at = links.indexOf(document.activeElement), last = links.length - 1;
  const to = { ArrowDown: at + 1, ArrowUp: Math.max(0, at - 1), Home: 0, End: last }[event.key];
  if (to === undefined || last < 0 || (at < 0 && event.key !== "ArrowDown")) return;
  event.preventDefault();
  links[Math.min(to, last)].focus();
}

const links = () => [...$("streams-rows").querySelectorAll("a")];
$("streams-filter").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") arrows(event, links());
});

$("tiles").append(...tiles.map(({ tile }) => tile));
watch(drawTiles);

export const streams = {
  show: restart,
  hide() {
    stop?.();
    stop = null;
  },
  key: (event) => arrows(event, links()),
};
