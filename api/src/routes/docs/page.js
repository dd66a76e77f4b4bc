// Shows the description that the API gives of itself. Text is only ever set as text.

const METHODS = ["get", "post", "put", "patch", "delete"];
// How deep types are shown within types; what lies deeper is shown by its name.
const DEPTH_MAX = 4;

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Text in which `words` are code. */
function prose(tag, text) {
  const pieces = text.split("`").map((piece, position) => (position % 2 ? make("code", "", piece) : piece));
  return make(tag, "", ...pieces);
}

function nameOf(schema) {
  return schema.$ref ? schema.$ref.split("/").pop() : "";
}

/** The children of a <code> that shows a schema, as people write types. */
function shape(schema, all, depth, within) {
  if (!schema) return ["anything"];
  if (schema.$ref) {
    const name = nameOf(schema);
    if (depth >= DEPTH_MAX || within.includes(name)) return [make("span", "type", name)];
    return shape(all[name], all, depth, [...within, name]);
  }
  const some = schema.oneOf || schema.anyOf || schema.allOf;
  if (some) return some.flatMap((one, position) => (position ? [" | ", ...shape(one, all, depth, within)] : shape(one, all, depth, within)));
  if (schema.enum) return [make("span", "value", schema.enum.map((value) => JSON.stringify(value)).join(" | "))];
  if (schema.items && !schema.properties) return ["[", ...shape(schema.items, all, depth, within), "]"];
  if (schema.properties) return fields(schema, all, depth, within);
  if (schema.additionalProperties && schema.additionalProperties !== true) {
    return ["{NAME: ", ...shape(schema.additionalProperties, all, depth + 1, within), "}"];
  }
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type || "anything";
  return [make("span", "type", schema.format ? `${type} (${schema.format})` : type)];
}

function fields(schema, all, depth, within) {
  const pad = "  ".repeat(depth + 1);
  const parts = ["{\n"];
  for (const [name, field] of Object.entries(schema.properties)) {
    const note = [field.readOnly ? "made by rscaler" : "", field.description || ""].filter(Boolean).join("; ");
    if (note) parts.push(pad, make("span", "note", `// ${note.replace(/\s+/g, " ")}`), "\n");
    parts.push(pad, make("span", "field", name), (schema.required || []).includes(name) ? ": " : "?: ");
    parts.push(...shape(field, all, depth + 1, within));
    if (field.default !== undefined && field.default !== null) parts.push(" = ", make("span", "value", JSON.stringify(field.default)));
    parts.push("\n");
  }
  parts.push("  ".repeat(depth), "}");
  return parts;
}

/** Bodies by media type; each shape is shown once, and named after that. */
function bodies(content, all, shown) {
  const parts = [];
  for (const [media, body] of Object.entries(content || {})) {
    const key = JSON.stringify(body.schema || {});
    parts.push(make("div", "media", shown.has(key) ? `${media}: ${nameOf(body.schema || {}) || "the same"}, as above` : media));
    if (body.schema && !shown.has(key)) parts.push(make("pre", "", make("code", "", ...shape(body.schema, all, 0, []))));
    shown.add(key);
  }
  return parts;
}

function parameters(operation) {
  const table = make("table");
  for (const parameter of operation.parameters || []) {
    const name = make("td", "", make("code", "", parameter.name));
    table.append(make("tr", "", name, make("td", "quiet", parameter.in), prose("td", parameter.description || "")));
  }
  return table.rows.length ? [make("h4", "", "Parameters"), table] : [];
}

function answers(operation, all, shown) {
  const parts = [make("h4", "", "Answers")];
  for (const [status, response] of Object.entries(operation.responses || {})) {
    const good = status.startsWith("2") ? "status good" : "status";
    parts.push(make("p", "", make("span", good, status === "default" ? "4xx, 5xx" : status), " ", response.description || ""));
    if (status.startsWith("2")) parts.push(...bodies(response.content, all, shown));
  }
  return parts;
}

function curl(path, method, operation) {
  const words = ["curl"];
  if (method !== "get") words.push("-X", method.toUpperCase());
  if (operation["x-role"]) words.push('-H "Authorization: Bearer $RSCALER_TOKEN"');
  const media = Object.keys(operation.requestBody?.content || {})[0];
  if (media) words.push(`-H "Content-Type: ${media}"`, "--data @FILE");
  return `${words.join(" ")} ${location.origin}${path}`;
}

function route(path, method, operation, all) {
  const role = operation["x-role"] || "anybody";
  const summary = make(
    "summary",
    "",
    make("span", `method ${method}`, method),
    make("code", "path", path),
    make("span", "what", operation.summary || ""),
    make("span", `role ${role}`, role),
  );
  const inside = make("div", "inside");
  const details = make("details", "", summary, inside);
  details.id = operation.operationId;
  details.dataset.text = `${method} ${path} ${operation.summary || ""} ${role}`.toLowerCase();
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    history.replaceState(null, "", `#${details.id}`);
    if (inside.childNodes.length) return;
    if (operation.description) inside.append(prose("p", operation.description));
    inside.append(...parameters(operation));
    const shown = new Set();
    if (operation.requestBody) inside.append(make("h4", "", "Body"), ...bodies(operation.requestBody.content, all, shown));
    inside.append(...answers(operation, all, shown));
    inside.append(make("h4", "", "Try it"), make("pre", "example", make("code", "", curl(path, method, operation))));
  });
  return details;
}

function groupsOf(description, all) {
  const groups = new Map();
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, operation, all));
    }
  }
  return groups;
}

function filter(sections, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { section, entry } of sections) {
    let here = 0;
    for (const details of section.querySelectorAll("details")) {
      details.hidden = !words.every((word) => details.dataset.text.includes(word));
      here += details.hidden ? 0 : 1;
    }
    section.hidden = entry.hidden = here === 0;
    found += here;
  }
  document.getElementById("nothing").hidden = found > 0;
}

function openFromAddress() {
  const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (wanted?.tagName === "DETAILS") wanted.open = true;
  wanted?.scrollIntoView();
}

function show(description) {
  document.getElementById("version").textContent = description.info.version;
  document.getElementById("introduction").append(prose("p", description.info.description || ""));
  document.getElementById("example").textContent = `curl -H "Authorization: Bearer $RSCALER_TOKEN" ${location.origin}/api/v1/clusters`;
  const places = [document.getElementById("routes"), document.getElementById("groups")];
  for (const place of places) place.replaceChildren();
  const sections = [];
  for (const [tag, routes] of groupsOf(description, description.components?.schemas || {})) {
    const section = make("section", "", make("h2", "", tag), ...routes);
    section.id = `group-${tag}`;
    const link = make("a", "", tag, make("span", "count", String(routes.length)));
    link.href = `#${section.id}`;
    const entry = make("li", "", link);
    places[0].append(section);
    places[1].append(entry);
    sections.push({ section, entry });
  }
  const input = document.getElementById("filter");
  input.addEventListener("input", () => filter(sections, input.value));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === input) return;
    event.preventDefault();
    input.focus();
  });
  window.addEventListener("hashchange", openFromAddress);
  openFromAddress();
}

fetch("/api/openapi.json")
  .then((response) => (response.ok ? response.json() : Promise.reject(new Error(`status ${response.status}`))))
  .then(show)
  .catch((error) => {
    document.getElementById("routes").replaceChildren(make("p", "", `The description could not be read: ${error}`));
  });
