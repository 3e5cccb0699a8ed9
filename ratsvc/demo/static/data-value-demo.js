// Samples come as JSON lines and are shown as they come; a value of one's own goes the same way.

import { $, ask, make, number, pieces, run } from "/demos/frame.js";

function row({ name, value, type, ways }) {
  const about = make("th", { scope: "row" }, make("small", {}, name), make("code", {}, value), make("span", { className: "type" }, type));
  return make("tr", {}, about, ...["packed", "tree", "json"].map((way) => cell(way, type, ways[way])));
}

function cell(way, type, { error, bytes, sent, kept, type: backType, value }) {
  const made = make("td", {});
  made.dataset.way = way;
  if (error) {
    made.append(make("span", { className: "bad" }, error));
    return made;
  }
  const said = kept ? `${type}, kept` : type === backType ? `${type}, not the same` : `comes back as ${backType}`;
  made.append(make("span", { className: kept ? "good" : "changed" }, said), make("span", { className: "bytes" }, bytes === 1 ? "1 byte" : `${number(bytes)} bytes`),
    make("code", {}, sent));
  if (!kept) made.append(make("code", {}, `→ ${value}`));
  return made;
}

async function showSamples() {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of pieces(await ask("/data-value-demo/samples"))) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop();
    $("rows").append(...lines.map((line) => row(JSON.parse(line))));
  }
}

async function sendOwn() {
  const headers = { "Content-Type": "application/json" };
  const answer = await ask("/data-value-demo/values", { method: "POST", body: $("json").value, headers });
  $("rows").prepend(row(await answer.json()));
}

$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  run(sendOwn);
});
run(showSamples);
