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
    if (globalThis.uPlot) return resolve(globalThis.uPlot);
    const script = element("script"), sheet = element("link");
    Object.assign(sheet, { rel: "stylesheet", href: "/ui/vendor/uPlot.min.css" });
    script.src = "/ui/vendor/uPlot.iife.min.js";
    script.onload = () => resolve(globalThis.uPlot);
    script.onerror = () => reject(new Error("the charts could not be fetched"));
    document.head.append(sheet, script);
    return undefined;
  });
}

const decades = (_, low, high) => [10 ** Math.floor(Math.log10(low || 1e-4)), 10 ** Math.ceil(Math.log10(high || 1e-3) + 1e-9)];

function chart(uPlot, [title, text, lines, steps]) {
  const box = element("figure", undefined, "panel chart"), caption = element("figcaption", title), place = element("div");
  box.append(caption, place);
  $("charts").append(box);
  const axis = { stroke: () => colour("soft"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const plot = new uPlot({
    width: Math.max(200, place.clientWidth), height: HEIGHT, ms: 1,
    cursor: { sync: { key: "dashboard" }, y: false, points: { size: 6 } },
    scales: { y: steps ? { range: (_, __, high) => [0, Math.max(high * 1.08, 1)] } : { distr: 3, range: decades } },
    axes: [
      { ...axis, values: (_, times) => times.map((time) => new Date(time * 1000).toTimeString().slice(0, 8)), space: 70, size: 28 },
      { ...axis, values: (_, values) => values.map((value) => (value === null ? null : text(value))), size: 68, ...(steps && { incrs: steps }) },
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
addEventListener("dashboard:theme", () => made?.forEach(({ plot }) => plot.redraw()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => made?.forEach(({ plot }) => plot.redraw()));
watch(() => draw(drawAll));

export const charts = {
  async show() {
    isShown = true;
    document.title = "Charts · ratsvc";
    try {
      const uPlot = await loaded();
      made ??= CHARTS.map((one) => chart(uPlot, one));
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
