// Charts of the newest samples, drawn by uPlot (../vendor), which is fetched when they are first looked at.

import { $, draw, element } from "../dom.js";
import { samples, watch } from "./service.js";
import { bytes, seconds, short } from "./text.js";

const HEIGHT = 190, LEAST_S = 20;
const perSecond = (number) => `${short(number)}/s`;
const BINARY = Array.from({ length: 50 }, (_, power) => 2 ** power), WHOLE = [1, 2, 5].flatMap((one) => Array.from({ length: 12 }, (_, power) => one * 10 ** power)).sort((one, other) => one - other);
const CHARTS = [ // title, how numbers are said, lines, steps of the axis (none: logarithmic)
  ["Records", perSecond, [["published", "Published", "accent"], ["delivered", "Delivered", "teal"]], WHOLE],
  ["Bytes", (number) => `${bytes(number)}/s`, [["publishedBytes", "Published", "accent"], ["deliveredBytes", "Delivered", "teal"]], BINARY],
  ["Latency, publish to write", seconds, [["deliveryHalf", "Median", "accent"], ["deliveryMost", "99 %", "warn"], ["commitMost", "Commit, 99 %", "violet"]]],
  ["Memory", bytes, [["resident", "Process", "accent"], ["log", "Log", "teal"], ["tail", "Tail", "violet"], ["queue", "Queue", "warn"]], BINARY],
  ["Readers", short, [["live", "Live", "up"], ["catchingUp", "Catching up", "warn"]], WHOLE],
  ["Processor and queue", short, [["percent", "CPU, % of one core", "accent"], ["queued", "Records that wait", "violet"]], WHOLE],
];

let made = null, span = 300, isShown = false;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function loaded() {
  return new Promise((resolve, reject) => {
    if (globalThis.uPlot) return resolve();
    try {
      new Intl.NumberFormat(navigator.language);
    } catch { // as uPlot does; and WebKitGTK's language is "C" where the system has none
      Object.defineProperty(navigator, "language", { value: "en" });
    }
    const script = element("script"), sheet = element("link");
    Object.assign(sheet, { rel: "stylesheet", href: "/ui/vendor/uPlot.min.css" });
    script.src = "/ui/vendor/uPlot.iife.min.js";
    script.onload = () => resolve();
    script.onerror = () => reject(new Error("the charts could not be fetched"));
    document.head.append(sheet, script);
    return undefined;
  });
}

const wholeDecades = (_, splits) => splits.map((one) => (Math.abs(Math.log10(one) - Math.round(Math.log10(one))) < 1e-6 ? one : null));
const decades = (_, low, high) => [10 ** Math.floor(Math.log10(low || 1e-4)), 10 ** Math.ceil(Math.log10(high || 1e-3) + 1e-9)];

function chart([title, text, lines, steps], { box, place }) {
  const axis = { stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const plot = new globalThis.uPlot({
    width: Math.max(200, place.clientWidth), height: HEIGHT, ms: 1,
    cursor: { sync: { key: "dashboard" }, y: false, points: { size: 6 } },
    scales: { y: steps ? { range: (_, __, high) => [0, Math.max(high * 1.08, 1)] } : { distr: 3, range: decades } },
    axes: [
      { ...axis, values: (_, times) => times.map((time) => new Date(time * 1000).toTimeString().slice(0, 8)), space: 70, size: 28 },
      { ...axis, ...(!steps && { grid: { ...axis.grid, filter: wholeDecades } }), values: (_, values) => values.map((value) => (value === null ? null : text(value))), size: 68, ...(steps && { incrs: steps }) },
    ],
    series: [
      { value: (_, time) => (time ? new Date(time * 1000).toTimeString().slice(0, 8) : "now") },
      ...lines.map(([, label, name], at) => ({
        label, stroke: () => colour(name), width: 1.75, points: { show: false }, spanGaps: false,
        fill: at || lines.length > 2 ? undefined : () => `color-mix(in srgb, ${colour(name)} 12%, transparent)`,
        value: (self, value, _, index) => text((index === null ? self.data[at + 1].at(-1) : value) ?? NaN),
      })),
    ],
    legend: { live: true },
  }, [[], ...lines.map(() => [])], place);
  return { plot, place, lines, box, title, text };
}

function data(lines) {
  const now = samples.at(-1)?.time ?? 0, shown = samples.filter(({ time }) => time > now - span);
  const value = (sample, field) => (field === "percent" ? (sample.processor === null ? null : 100 * sample.processor) : sample[field]);
  return [shown.map(({ time }) => time), ...lines.map(([field]) => shown.map((sample) => value(sample, field)))];
}

function drawAll() {
  if (!isShown || !made || samples.length < 2) return;
  const now = samples.at(-1).time;
  for (const { plot, lines, box, title, text } of made) {
    const drawn = data(lines);
    plot.setData(drawn, false);
    plot.setScale("x", { min: Math.max(now - span, Math.min(drawn[0][0], now - LEAST_S)), max: now });
    if (plot.cursor.idx === null || plot.cursor.left < 0) plot.setLegend({ idx: drawn[0].length - 1 });
    box.setAttribute("aria-label", `${title} now: ${lines.map(([, label], at) => `${label} ${text(drawn[at + 1].at(-1) ?? NaN)}`).join(", ")}`);
  }
}

// In other colours: a legend keeps those that it was made with.
function remake() {
  if (!made) return;
  for (const { plot } of made) plot.destroy();
  $("charts").replaceChildren();
  make();
  drawAll();
}

function make() {
  const boxes = CHARTS.map(([title]) => {
    const box = element("figure", undefined, "panel chart"), place = element("div");
    box.append(element("figcaption", title), place);
    return { box, place };
  });
  $("charts").append(...boxes.map(({ box }) => box)); // all of them first: each is as wide as the others leave it
  made = CHARTS.map((one, at) => chart(one, boxes[at]));
}

function resize() {
  for (const { plot, place } of made ?? []) {
    if (place.clientWidth && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }
}

$("span").addEventListener("change", ({ target }) => {
  span = Number(target.value);
  draw(drawAll);
});
addEventListener("resize", () => draw(resize));
addEventListener("dashboard:theme", remake);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", remake);
watch(() => draw(drawAll));

export const charts = {
  async show() {
    isShown = true;
    document.title = "Charts · ratsvc";
    try {
      await loaded();
      if (!made) make();
      resize();
      drawAll();
    } catch (error) {
      $("charts").replaceChildren(element("p", error.message, "empty"));
    }
  },
  hide() {
    isShown = false;
  },
};
