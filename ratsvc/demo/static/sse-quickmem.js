// Shows structured values as they come: the newest whole, and what its encoding took.

import { $, events, fromBase64, hex, make, number, run } from "/demos/frame.js";

const KEEP_POINTS = 100, KEEP_LINES = 30;
const encode = [], decode = [];
let stop = null, count = 0, different = 0;

function onReading({ value, packed, encode_us, decode_us, same }) {
  const json = JSON.stringify(value), bytes = fromBase64(packed);
  count += 1;
  different += !same;
  for (const [times, time] of [[encode, encode_us], [decode, decode_us]]) {
    times.push(time);
    if (times.length > KEEP_POINTS) times.shift();
  }
  $("count").textContent = count;
  $("value").textContent = JSON.stringify(value, null, 1);
  $("json-bytes").textContent = json.length;
  $("packed-bytes").textContent = bytes.length;
  $("packed").textContent = hex(bytes);
  $("encode").textContent = number(median(encode), 1);
  $("decode").textContent = number(median(decode), 1);
  $("same").textContent = different ? `${different} came back different` : "every one came back the same";
  $("same").className = different ? "bad" : "good";
  draw();
  const line = `${value.number}: ${bytes.length} bytes packed, encoded in ${number(encode_us, 1)} µs`;
  $("events").prepend(make("li", {}, make("time", {}, value.at.slice(11, 23)), make("span", {}, line)));
  while ($("events").childElementCount > KEEP_LINES) $("events").lastElementChild.remove();
}

function draw() {
  const most = Math.max(...encode), first = KEEP_POINTS - encode.length;
  const points = encode.map((time, at) => `${(((first + at) / (KEEP_POINTS - 1)) * 100).toFixed(1)},${(19 - (time / most) * 18).toFixed(1)}`);
  $("chart").querySelector("polyline").setAttribute("points", points.join(" "));
}

function median(times) {
  return [...times].sort((one, other) => one - other)[times.length >> 1];
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    stop = new AbortController();
    $("stop").disabled = false;
    count = different = encode.length = decode.length = 0;
    $("events").replaceChildren();
    try {
      await events("/sse-quickmem/events", { reading: onReading }, stop.signal);
    } finally {
      $("stop").disabled = true;
    }
  });
});
$("stop").addEventListener("click", () => stop.abort());
