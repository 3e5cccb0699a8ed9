// One record, whole: what is known of it, and its value as a tree with types, as JSON, as text or in hex.
// Whatever it has goes in as text; what is large is cut, and shown on when asked. A tree makes only what is open.

import { element } from "../dom.js";
import { bytes as size, count, visible } from "./text.js";
import { hex, json, kind, scalar } from "./values.js";

const MOST_CHARACTERS = 2000, MOST_ITEMS = 100, HEX_ROWS = 64, HEX_WIDTH = 16, OPEN_DEPTH = 2, MOST_JSON_NODES = 200_000;

function button(text, act) {
  const made = element("button", text, "quiet");
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A text, cut, with the rest on demand.
function long(text, className, most = MOST_CHARACTERS) {
  const box = element("span", undefined, className), shown = element("bdi", visible(text.slice(0, most)));
  box.append(shown);
  if (text.length > most) {
    box.append("… ", button(`show all ${count(text.length)} characters`, ({ target }) => {
      shown.textContent = visible(text);
      target.previousSibling.remove();
      target.remove();
    }));
  }
  return box;
}

// The tree.
function label(name, value, is) {
  const line = element("span", undefined, "line");
  if (name !== null) line.append(long(String(name), "name", 200), ": ");
  const parts = is === "list" ? value.length : is === "map" ? Object.keys(value).length : null;
  if (parts !== null) line.append(element("span", is === "list" ? `[${count(parts)}]` : `{${count(parts)}}`, "punctuation"), " ");
  else if (is === "string") line.append(long(value, "string"), " ");
  else if (is === "bytes") line.append(element("span", hex(value.subarray(0, 12)) + (value.length > 12 ? " …" : ""), "bytes"), " ");
  else line.append(element("span", scalar(value), is), " ");
  line.append(element("span", is === "bytes" ? `bytes, ${size(value.length)}` : is, "type"));
  return line;
}

function branch(name, value, depth) {
  const is = kind(value), item = element("li");
  if (is !== "list" && is !== "map" && is !== "bytes") {
    item.append(label(name, value, is));
    return item;
  }
  const fold = element("details"), head = element("summary");
  head.append(label(name, value, is));
  fold.append(head);
  const fill = () => fold.append(is === "bytes" ? hexDump(value) : parts(value, is, depth + 1));
  if (depth < OPEN_DEPTH && is !== "bytes") {
    fold.open = true;
    fill();
  } else fold.addEventListener("toggle", fill, { once: true });
  item.append(fold);
  return item;
}

function parts(value, is, depth) {
  const list = element("ul"), names = is === "map" ? Object.keys(value) : null, most = names?.length ?? value.length;
  let at = 0;
  const more = () => {
    const stop = Math.min(most, at + MOST_ITEMS);
    for (; at < stop; at++) list.append(branch(names ? names[at] : at, names ? value[names[at]] : value[at], depth));
    if (at === most) return;
    const item = element("li");
    item.append(button(`show ${count(Math.min(MOST_ITEMS, most - at))} more of ${count(most - at)}`, () => {
      item.remove();
      more();
    }));
    list.append(item);
  };
  more();
  return list;
}

function tree(value) {
  const list = element("ul", undefined, "tree");
  list.append(branch(null, value, 0));
  return list;
}

// Bytes, sixteen a row: place, hexadecimal, ASCII.
function hexDump(bytes) {
  const box = element("div", undefined, "hex"), dump = element("pre");
  let row = 0;
  const rows = Math.ceil(bytes.length / HEX_WIDTH), more = button("", add);
  function add() {
    const stop = Math.min(rows, row + (row ? 16 * HEX_ROWS : HEX_ROWS)), lines = [];
    for (; row < stop; row++) {
      const part = bytes.subarray(row * HEX_WIDTH, (row + 1) * HEX_WIDTH);
      const shown = Array.from(part, (byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
      lines.push(`${(row * HEX_WIDTH).toString(16).padStart(6, "0")}  ${hex(part).padEnd(HEX_WIDTH * 3 - 1)}  ${shown}\n`);
    }
    dump.append(lines.join(""));
    more.textContent = `show more of ${size(bytes.length)}`;
    if (row === rows) more.remove();
  }
  box.append(dump, more);
  add();
  if (!bytes.length) dump.textContent = "(no bytes)";
  return box;
}

function source(value) {
  const box = element("pre", undefined, "source");
  box.append(long(json(value), "", 20_000));
  return box;
}

function plain(value) {
  const box = element("pre", undefined, "source wrapped");
  box.append(long(value, "", 20_000));
  return box;
}

const nodes = (value) => {
  let left = MOST_JSON_NODES;
  const walk = (one) => {
    if (left-- <= 0 || one === null || typeof one !== "object" || one instanceof Date || one instanceof Uint8Array) return;
    for (const name in one) walk(one[name]);
  };
  walk(value);
  return left > 0;
};

// The ways to see a value, the first of them first.
function ways(value) {
  const is = kind(value);
  if (is === "bytes") return { Hex: () => hexDump(value), Text: () => plain(new TextDecoder().decode(value)) };
  if (is === "string") return { Text: () => plain(value), JSON: () => source(value), Hex: () => hexDump(new TextEncoder().encode(value)) };
  return { Tree: () => tree(value), JSON: () => (nodes(value) ? source(value) : element("p", "Too large to be shown whole.", "soft")) };
}

let way = ""; // as it was chosen last

function valueView(value) {
  const box = element("div", undefined, "value-view"), bar = element("div", undefined, "tabs"), found = ways(value);
  const place = element("div", undefined, "value");
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Show the value as");
  const choose = (name) => {
    for (const one of bar.children) one.setAttribute("aria-pressed", String(one.textContent === name));
    place.replaceChildren(found[name]());
  };
  for (const name of Object.keys(found)) {
    bar.append(button(name, () => {
      way = name;
      choose(name);
    }));
  }
  choose(Object.hasOwn(found, way) ? way : Object.keys(found)[0]);
  const top = element("div", undefined, "value-head");
  top.append(element("span", kind(value), "type"), bar);
  box.append(top, place);
  return box;
}

function fact(list, name, text, className) {
  const value = element("dd", undefined, className);
  value.append(long(text, "", 400));
  list.append(element("dt", name), value);
}

// Fills the inspector. `acts` are what can be done with the record, by name.
export function inspect(place, record, acts = {}) {
  if (!record) {
    place.replaceChildren(element("p", "Choose a record to look into it: click, or arrow keys in the list.", "empty"));
    return;
  }
  const facts = element("dl", undefined, "record-facts"), { stream, cursor, time, key, event, headers } = record;
  fact(facts, "Stream", stream, "mono");
  fact(facts, "Cursor", cursor, "mono");
  fact(facts, "Committed", Number.isNaN(time.getTime()) ? "–" : time.toISOString().replace("T", " "), "mono");
  if (key) fact(facts, "Key", key, "mono");
  if (event) fact(facts, "Event", event, "mono");
  for (const name in headers) fact(facts, visible(name), headers[name], "mono");
  const bar = element("p", undefined, "actions");
  bar.append(...Object.entries(acts).map(([name, act]) => button(name, () => act(record))));
  const title = element("h2", "Record");
  title.append(bar);
  place.replaceChildren(title, facts, valueView(record.value));
}
