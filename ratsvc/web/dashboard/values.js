// Typed values: what kind each is, a preview in little time whatever their size, JSON, and whether they have a text.

import { count, oneLine } from "./text.js";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const MOST_NODES = 2000; // looked at in one value, for a preview or a search

export const hex = (bytes, between = " ") => Array.from(bytes, (byte) => HEX[byte]).join(between);

export function kind(value) {
  if (value === null) return "null";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "double";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "string") return "string";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Date) return "timestamp";
  return Array.isArray(value) ? "list" : "map";
}

const timestamp = (date) => (Number.isNaN(date.getTime()) ? "out of range" : date.toISOString());

// A value that has no parts, as text.
export function scalar(value) {
  const is = kind(value);
  if (is === "timestamp") return timestamp(value);
  if (is === "bytes") return `${count(value.length)} bytes`;
  return Object.is(value, -0) ? "-0" : String(value);
}

// One line of at most about `most` characters.
export function preview(value, most) {
  if (typeof value === "string") return oneLine(value, most);
  const parts = [];
  let left = most;
  const put = (text) => {
    parts.push(text);
    left -= text.length;
  };
  const walk = (one) => {
    if (left <= 0) return;
    switch (kind(one)) {
      case "string": return put(JSON.stringify(oneLine(one, left)));
      case "bytes": return put(`<${hex(one.subarray(0, 16))}${one.length > 16 ? " …" : ""}> ${count(one.length)} B`);
      case "list":
        put("[");
        for (const [at, item] of one.entries()) {
          if (left <= 0) break;
          if (at) put(", ");
          walk(item);
        }
        return put("]");
      case "map": {
        let at = 0;
        put("{");
        for (const name in one) {
          if (left <= 0) break;
          put(`${at++ ? ", " : " "}${oneLine(name, 80) || '""'}: `);
          walk(one[name]);
        }
        return put(at ? " }" : "}");
      }
      default: return put(scalar(one));
    }
  };
  walk(value);
  return left <= 0 ? `${parts.join("").slice(0, most)}…` : parts.join("");
}

// Whether a lower-case text is in the value: in its strings, names and numbers, of the first MOST_NODES.
export function includes(value, text) {
  let left = MOST_NODES;
  const walk = (one) => {
    if (left-- <= 0 || one === null) return false;
    if (typeof one === "string") return one.toLowerCase().includes(text);
    if (typeof one !== "object" || one instanceof Date || one instanceof Uint8Array) {
      return (one instanceof Uint8Array ? hex(one.subarray(0, 256)) : scalar(one).toLowerCase()).includes(text);
    }
    if (Array.isArray(one)) return one.some(walk);
    for (const name in one) if (name.toLowerCase().includes(text) || walk(one[name])) return true;
    return false;
  };
  return walk(value);
}

// About how many bytes of memory a value takes: of its first MOST_NODES.
export function weight(value) {
  let left = MOST_NODES;
  const walk = (one) => {
    if (left-- <= 0) return 0;
    if (typeof one === "string") return 16 + 2 * one.length;
    if (typeof one !== "object" || one === null) return 16;
    if (one instanceof Uint8Array) return 64 + one.length;
    let size = 64;
    if (Array.isArray(one)) for (const item of one) size += walk(item);
    else if (!(one instanceof Date)) for (const name in one) size += 32 + 2 * name.length + walk(one[name]);
    return size;
  };
  return walk(value);
}

// JSON as the service writes it: bytes in base64, times in RFC 3339, every integer exact; unseen characters escaped.
export function json(value, indent = 2) {
  const step = " ".repeat(indent), quoted = (text) =>
    JSON.stringify(text).replace(/[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
      (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const walk = (one, before) => {
    const inner = before + step;
    switch (kind(one)) {
      case "string": return quoted(one);
      case "bytes": return `"${base64(one)}"`;
      case "timestamp": return `"${timestamp(one)}"`;
      case "double": return Number.isFinite(one) ? scalar(one) : "null";
      case "list":
        return one.length ? `[\n${one.map((item) => inner + walk(item, inner)).join(",\n")}\n${before}]` : "[]";
      case "map": {
        const lines = Object.keys(one).map((name) => `${inner}${quoted(name)}: ${walk(one[name], inner)}`);
        return lines.length ? `{\n${lines.join(",\n")}\n${before}}` : "{}";
      }
      default: return scalar(one);
    }
  };
  return walk(value, "");
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}
