// The newest records of any streams and patterns, whatever their event types: `?stream=NAME`, repeatable.

import { $, Feed, Tape, element, listener, showCursorOf, state } from "./page.js";

const KEEP_RECORDS = 200, START = "-50", MAX_CHARACTERS = 4000, ONE_LINE = 100;

export function followAny(streams) {
  $("any").hidden = false;
  $("any-name").textContent = streams.join(", ");
  $("stream").value = streams.join(" ");
  document.title = `${streams.join(", ")} · ratsvc`;
  const tape = new Tape($("any-records"), KEEP_RECORDS, { isNewestFirst: true });
  const query = new URLSearchParams([...streams.map((name) => ["stream", name]), ["int64", "string"]]);
  const show = (record) => {
    $("any-empty").hidden = true;
    tape.add(() => row(record));
  };
  const options = { from: START, ...listener(streams.join(", "), show, { onState: state }) };
  const feed = new Feed(`/v1/subscribe?${query}`, options);
  showCursorOf(feed);
  return [feed];
}

function row({ stream, cursor, time, key, event, headers, value }) {
  const item = element("li"), about = element("div", undefined, "about");
  about.append(element("div", stream, "name"), element("div", `${time.toISOString().slice(11, 23)} · ${cursor}`));
  const labels = [key && `key ${key}`, event && `event ${event}`, Object.keys(headers).length > 0 && JSON.stringify(headers)].filter(Boolean);
  if (labels.length > 0) about.append(element("div", labels.join(" · ")));
  item.append(about, element("div", shown(value), typeof value === "string" ? "value text" : "value"));
  return item;
}

function shown(value) {
  let text = value;
  if (typeof value !== "string") {
    text = JSON.stringify(value, null, 1);
    const line = text.replace(/\n */g, " "); // line breaks inside strings are escaped: these are layout
    if (line.length <= ONE_LINE) text = line;
  }
  if (text.length <= MAX_CHARACTERS) return text;
  return `${text.slice(0, MAX_CHARACTERS)}… (${text.length.toLocaleString("en")} characters)`;
}
