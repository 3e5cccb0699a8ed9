// Who is connected: readers with their place, producers with what they sent. The service tells it where its setting
// `show_connections` lets it; without asking for it, on a loopback address alone.

import { $, element } from "../dom.js";
import { every, getJson, latest } from "./service.js";
import { address, arrows } from "./streams.js";
import { ago, bytes, count, oneLine } from "./text.js";

const EVERY_MS = 1000, PAGE = 200, MOST = 1000;
const rows = new Map();
let limit = PAGE, stream = "", stop = null, total = 0, next = null;

async function load() {
  if (!latest) return;
  if (!latest.connections_shown) {
    say("This service does not tell who is connected, for it can be reached from other machines. The setting show_connections = true changes that.");
    return;
  }
  const query = new URLSearchParams({ limit });
  if (stream) query.set("stream", stream);
  if ($("connections-role").value) query.set("role", $("connections-role").value);
  const page = await getJson(`/v1/connections?${query}`), now = performance.now(), seen = new Set();
  ({ total, next } = page);
  for (const one of page.connections) {
    seen.add(one.number);
    const known = rows.get(one.number) ?? { row: made(), rate: null }, took = (now - known.at) / 1000;
    if (known.info && took > 0) known.rate = Math.max(0, one.bytes - known.info.bytes) / took;
    rows.set(one.number, Object.assign(known, { info: one, at: now }));
  }
  for (const number of rows.keys()) if (!seen.has(number)) rows.delete(number);
  draw();
}

function say(text) {
  $("connections").hidden = Boolean(text);
  $("connections-empty").hidden = !text;
  $("connections-empty").textContent = text;
}

function made() {
  const row = element("tr"), head = element("th");
  head.scope = "row";
  row.append(head, ...["", "streams", "", "number", "number", "number", "number"].map((one) => element("td", undefined, one)));
  return row;
}

// What a user agent comes down to.
function program(agent) {
  const [, name] = /(Edg|OPR|Firefox|Chrome|Safari)\/[\d.]+/.exec(agent) ?? [];
  if (agent.startsWith("Mozilla/") && name) return { Edg: "Edge", OPR: "Opera" }[name] ?? name;
  return oneLine(agent.split(" ")[0] || "unknown", 40);
}

function fill({ row, info, rate }) {
  const [who, format, streams, state, behind, size, speed, since] = row.cells;
  if (!who.firstChild) {
    who.append(element("b", program(info.agent)), element("span", info.address, "mono soft"));
    who.title = info.agent;
    const isGrpc = info.protocol === "grpc";
    format.append(element("span", isGrpc && info.format === "grpc" ? "gRPC" : info.format, "badge"), element("span", isGrpc ? "" : "HTTP", "soft"));
    state.append(element("span", "", "state"));
    since.title = info.since;
  }
  const names = info.streams.join(", ") + (info.more_streams ? ` and ${count(info.more_streams)} more` : "");
  if (streams.textContent !== names) {
    const link = element("a", names);
    link.href = address(info.streams);
    streams.replaceChildren(...(info.streams.length ? [link] : ["–"]));
  }
  const text = info.state.replace("-", " ");
  if (state.firstChild.textContent !== text) {
    state.firstChild.textContent = text;
    state.firstChild.dataset.is = info.state;
  }
  behind.textContent = info.role === "reader" ? count(info.lag) : "–";
  behind.title = info.cursor ?? "";
  size.textContent = bytes(info.bytes);
  speed.textContent = rate === null ? "–" : `${bytes(rate)}/s`;
  since.textContent = ago(new Date(info.since));
}

function draw() {
  const text = $("connections-filter").value.trim().toLowerCase();
  const words = ({ address: at, agent, format, streams, state, protocol }) =>
    [at, agent, format, protocol, state, ...streams].join(" ").toLowerCase();
  const shown = [...rows.values()].filter(({ info }) => words(info).includes(text));
  shown.forEach(fill);
  const body = $("connections-rows"), wanted = shown.map(({ row }) => row);
  if (wanted.length !== body.rows.length || wanted.some((row, at) => body.rows[at] !== row)) {
    const focused = document.activeElement, had = body.contains(focused);
    body.replaceChildren(...wanted);
    if (had) focused.focus({ preventScroll: true });
  }
  $("connections-count").textContent = `${count(shown.length)} of ${count(total)}${stream ? `, of ${stream}` : ""}`;
  $("connections-more").hidden = !next || limit >= MOST;
  say(wanted.length ? "" : text ? "No connection has that." : "Nobody is connected.");
}

function restart() {
  stop?.();
  stop = every(EVERY_MS, load);
}

$("connections-filter").addEventListener("input", draw);
$("connections-filter").form.addEventListener("submit", (event) => event.preventDefault());
$("connections-role").addEventListener("change", restart);
$("connections-more").addEventListener("click", () => {
  limit = Math.min(MOST, limit + PAGE);
  restart();
});

export const connections = {
  show(query) {
    [stream, limit] = [query.get("stream") ?? "", PAGE];
    rows.clear();
    document.title = "Connections · ratsvc";
    say(" ");
    restart();
    if (!latest) setTimeout(() => stop && restart(), 300);
  },
  hide() {
    stop?.();
    stop = null;
  },
  key: (event) => arrows(event, [...$("connections-rows").querySelectorAll("a")]),
};
