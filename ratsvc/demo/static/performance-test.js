// Reads a stream of each type to its end and counts what came: lines, events, or bytes by the size of an item.

import { $, ask, make, number, pieces, run } from "/demos/frame.js";

const LF = 10, CHUNK_BYTES = 64, DELIMITED_BYTES = 65;
const TYPES = {
  json: () => countBytes(LF),
  text: () => countBytes(LF),
  sse: countEvents,
  chunked: () => countSize(CHUNK_BYTES),
  binary: () => countSize(DELIMITED_BYTES),
};

function countBytes(wanted) {
  let found = 0;
  return { add: (piece) => { for (const byte of piece) found += byte === wanted; }, items: () => found };
}

function countEvents() { // An empty line ends an event; the last one is `end`.
  let found = 0, before = 0;
  return {
    add(piece) {
      for (const byte of piece) {
        found += byte === LF && before === LF;
        before = byte;
      }
    },
    items: () => found - 1,
  };
}

function countSize(itemBytes) {
  let size = 0;
  return { add: (piece) => { size += piece.length; }, items: () => size / itemBytes };
}

async function measure(type, items) {
  const name = crypto.getRandomValues(new Uint32Array(4)).join("-"), counter = TYPES[type]();
  const began = performance.now();
  let bytes = 0;
  for await (const piece of pieces(await ask(`/performance-test/run/${name}?type=${type}&items=${items}`))) {
    bytes += piece.length;
    counter.add(piece);
  }
  const seconds = (performance.now() - began) / 1000;
  const app = await (await ask(`/performance-test/figures/${name}`)).json();
  return { type, items, bytes, arrived: counter.items(), rate: items / seconds, megabytes: bytes / seconds / 1e6, app: items / app.seconds };
}

function row({ type, items, arrived, rate, megabytes, app }) {
  const isWhole = arrived === items;
  const bar = make("meter", { min: 0, max: 1, value: 0 });
  bar.dataset.rate = rate;
  bar.setAttribute("aria-label", `${type}: ${number(rate)} items a second`);
  return make("tr", {}, make("th", { scope: "row" }, type), make("td", {}, number(app)), make("td", {}, number(rate)),
    make("td", {}, number(megabytes, 1)), make("td", { className: isWhole ? "good" : "bad" }, isWhole ? "all" : number(arrived)),
    make("td", { className: "graph" }, bar));
}

function scale() {
  const bars = [...$("rates").querySelectorAll("meter")], most = Math.max(...bars.map(({ dataset }) => Number(dataset.rate)));
  for (const bar of bars) bar.value = Number(bar.dataset.rate) / most;
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    $("rates").replaceChildren();
    for (const type of Object.keys(TYPES)) {
      $("rates").append(row(await measure(type, Number($("items").value))));
      scale();
    }
  });
});
