// The dashboard: one page, five views, each with an address of its own. Views are told to show and to hide; what they
// fetch, they fetch while they are shown. The service's figures are sampled all the time, for the charts.

import { $ } from "../dom.js";
import { charts } from "./charts.js";
import { connections } from "./connections.js";
import { follow } from "./follow.js";
import { getJson, watch } from "./service.js";
import { stream } from "./stream.js";
import { streams } from "./streams.js";

const VIEWS = { streams, stream, connections, charts, follow };
const THEMES = ["system", "light", "dark"];
let current = null;

function route() {
  const query = new URLSearchParams(location.search), asked = query.get("view");
  const name = query.has("stream") && !asked ? "stream" : Object.hasOwn(VIEWS, asked) ? asked : "streams";
  current?.hide();
  current = VIEWS[name];
  for (const other of Object.keys(VIEWS)) $(`${other}-view`).hidden = other !== name;
  for (const link of document.querySelectorAll("[data-view]")) {
    const isHere = link.dataset.view === name || (name === "stream" && link.dataset.view === "streams");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = "ratsvc";
  current.show(query);
}

export function go(address) {
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  route();
  scrollTo(0, 0);
  $("main").focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const target = new URL(link.href);
  if (target.origin !== location.origin || target.pathname !== "/ui/" || target.hash) return;
  event.preventDefault();
  go(target.pathname + target.search);
});
addEventListener("popstate", route);
addEventListener("dashboard:go", (event) => go(event.detail));

// Keys: `/` to the view's filter, Esc out of it; what else there is, the views take.
document.addEventListener("keydown", (event) => {
  const { target, key } = event, isTyping = target.matches("input, textarea, select");
  if (key === "Escape" && isTyping) {
    if (target.type === "search" && target.value) {
      target.value = "";
      target.dispatchEvent(new Event("input", { bubbles: true }));
    } else target.blur();
    event.preventDefault();
  } else if (!isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector("main > section:not([hidden]) input[type=search]");
    if (key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else current.key?.(event);
  }
});

// The theme.
function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme-name").textContent = name;
  dispatchEvent(new Event("dashboard:theme"));
}

function storedTheme(name) {
  try {
    if (name) localStorage.setItem("ratsvc-theme", name);
    return localStorage.getItem("ratsvc-theme");
  } catch { // storage is off
    return name;
  }
}

let themeAt = Math.max(0, THEMES.indexOf(storedTheme()));
theme(THEMES[themeAt]);
$("theme").addEventListener("click", () => {
  themeAt = (themeAt + 1) % THEMES.length;
  storedTheme(THEMES[themeAt]);
  theme(THEMES[themeAt]);
});

// The service.
watch((_, status) => {
  const is = !status ? "unreachable" : status.draining ? "draining" : "live";
  const text = { unreachable: "not reachable", draining: "draining", live: `ratsvc ${status?.version}` }[is];
  if ($("service").dataset.is !== is || $("service").textContent !== text) {
    $("service").dataset.is = is;
    $("service").textContent = text;
  }
});

async function lookForDemo() {
  const { streams: found } = await getJson("/v1/streams?pattern=demo.prices&limit=1").catch(() => ({ streams: [] }));
  $("demo-link").hidden = found.length === 0;
  if (found.length === 0) setTimeout(lookForDemo, 10_000);
}

lookForDemo();
route();
