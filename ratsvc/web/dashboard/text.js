// Numbers, times and hostile text as one reads them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export const count = (number) => number.toLocaleString("en");

// Two to four digits, then k, M, G.
export function short(number) {
  if (!Number.isFinite(number)) return "–";
  if (number === 0) return "0";
  if (number < 10) return number.toFixed(number < 0.1 ? 2 : 1).replace(/\.0+$/, "");
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (number >= size) {
      const scaled = number / (unit === "k" ? 1e3 : size);
      return `${scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)}${unit}`;
    }
  }
  return count(Math.round(number));
}

export function bytes(number) {
  if (!Number.isFinite(number)) return "–";
  let at = 0;
  for (; number >= 1024 && at < UNITS.length - 1; at++) number /= 1024;
  return `${at === 0 || number >= 100 ? Math.round(number) : number.toFixed(1)} ${UNITS[at]}`;
}

export function seconds(number) {
  if (!Number.isFinite(number)) return "–";
  if (number < 0.001) return `${Math.round(number * 1e6)} µs`;
  if (number < 1) return `${(number * 1000).toFixed(number < 0.01 ? 2 : number < 0.1 ? 1 : 0)} ms`;
  return `${number.toFixed(number < 10 ? 1 : 0)} s`;
}

// How long ago, in one unit.
export function ago(date, now = Date.now()) {
  const past = Math.max(0, (now - date) / 1000);
  if (past < 2) return "now";
  if (past < 120) return `${Math.floor(past)} s`;
  if (past < 7200) return `${Math.floor(past / 60)} min`;
  if (past < 172800) return `${Math.floor(past / 3600)} h`;
  return `${Math.floor(past / 86400)} d`;
}

export const clock = (date) => (Number.isNaN(date.getTime()) ? "–" : date.toISOString().slice(11, 23));

// Characters that are not seen, or turn others round (Unicode's bidirectional controls), by their numbers.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export const visible = (text) =>
  text.replaceAll("\r\n", "\n").replace(UNSEEN, (one) => `⟨U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

// `text` on one line, cut to `most` characters.
export function oneLine(text, most) {
  const cut = text.length > most ? `${text.slice(0, most)}…` : text;
  return visible(cut).replace(/[ \t\n]+/g, " ");
}
