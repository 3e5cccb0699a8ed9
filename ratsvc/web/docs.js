// Shows /openapi.json: no library, and nothing from another host.
"use strict";

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

function table(heads, rows) {
  const row = (cell) => (cells) => element("tr", {}, ...cells.map((one) => element(cell, {}, one)));
  return rows.length
    ? element("table", {}, element("thead", {}, row("th")(heads)), element("tbody", {}, ...rows.map(row("td"))))
    : undefined;
}

function kind(schema) {
  if (!schema) return "";
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  const item = schema.type === "array" ? ` of ${kind(schema.items)}` : "";
  const bounds = [["minimum", "≥"], ["maximum", "≤"]].filter(([key]) => key in schema);
  return `${schema.type ?? "any"}${item}${bounds.map(([key, sign]) => ` ${sign} ${schema[key]}`).join("")}`;
}

function operation(method, path, described) {
  const parameters = (described.parameters ?? []).map((one) => [
    element("code", {}, one.name), one.in, kind(one.schema), one.description ?? "",
  ]);
  const takes = Object.keys(described.requestBody?.content ?? {});
  const answers = Object.entries(described.responses ?? {}).map(([status, response]) => [
    status, Object.keys(response.content ?? {}).join(", "), response.description ?? "",
  ]);
  return element("details", { id: `${method}-${path}` },
    element("summary", {},
      element("code", { class: "method" }, method.toUpperCase()), element("code", { class: "path" }, path),
      described.summary ?? ""),
    described.description ? element("p", {}, described.description.trim()) : undefined,
    table(["Parameter", "In", "Takes", ""], parameters),
    takes.length ? element("p", {}, `Body: ${takes.join(", ")}`) : undefined,
    table(["Status", "Answers", ""], answers));
}

function schema(name, described) {
  const properties = Object.entries(described.properties ?? {}).map(([key, one]) => [
    element("code", {}, key), kind(one), one.description ?? "",
  ]);
  return element("details", { id: `schema-${name}` },
    element("summary", {}, element("code", {}, name), " ", described.description ?? ""),
    table(["Member", "Type", ""], properties));
}

async function show() {
  const about = document.getElementById("about");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) {
    about.textContent = `/openapi.json answered ${answer.status}`;
    return;
  }
  const api = await answer.json();
  about.replaceChildren(`${api.info.description} Version ${api.info.version}. `,
    element("a", { href: "/openapi.json" }, "openapi.json"), " · ", element("a", { href: "/ui/" }, "streams"));
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => operation(method, path, described)));
  const schemas = Object.entries(api.components.schemas).map(([name, described]) => schema(name, described));
  document.getElementById("operations").append(
    element("h2", {}, "Operations"), ...operations, element("h2", {}, "Types"), ...schemas);
}

show();
