// Many readers with the npm `eventsource` package, until each has seen the offset that comes on standard input.
// Writes a line of JSON for each event: the reader's number, the event's type, and its data.
// usage: node eventsources.js COUNT URL
const { EventSource } = require("eventsource");

const [count, url] = [Number(process.argv[2]), process.argv[3]];
const EVENTS = ["message", "tick", "gap", "end"];
const sources = new Map();
const lastOf = (id) => Number(id.split("-")[1] ?? 0);
let until = Infinity, connected = 0;

function arrived(number, id) {
  if (lastOf(id) < until) return;
  sources.get(number)?.source.close();
  sources.delete(number);
  if (sources.size === 0) process.exit(0);
}

for (let number = 0; number < count; number += 1) {
  const source = new EventSource(url), one = { source, last: "" };
  sources.set(number, one);
  source.addEventListener("open", () => { if ((connected += 1) === count) console.error("connected"); });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) console.log(JSON.stringify([number, "closed", ""]));
  });
  for (const type of EVENTS) {
    source.addEventListener(type, ({ data, lastEventId }) => {
      one.last = lastEventId || one.last;
      if (data) console.log(JSON.stringify([number, type, data]));
      arrived(number, one.last);
    });
  }
}

process.stdin.on("data", (line) => {
  until = Number(line);
  for (const [number, { last }] of [...sources]) arrived(number, last);
});
