// Shows the description that the API gives of itself. Text is only ever set as text.
"use strict";

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function shape(schema, all, depth) {
  if (!schema || depth > 6) return "...";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 2 ? name : shape(all[name], all, depth + 1);
  }
  const some = schema.oneOf || schema.anyOf || schema.allOf;
  if (some) return some.map((one) => shape(one, all, depth + 1)).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type;
  if (type === "array" || (schema.items && !schema.properties)) return "[" + shape(schema.items, all, depth + 1) + "]";
  if (schema.properties) {
    const pad = "  ".repeat(depth + 1);
    const fields = Object.entries(schema.properties).map(([name, field]) => {
      const needed = (schema.required || []).includes(name) ? "" : "?";
      const note = field.readOnly ? "   (made by rscaler)" : "";
      const fallback = field.default !== undefined ? " = " + JSON.stringify(field.default) : "";
      return pad + name + needed + ": " + shape(field, all, depth + 1) + fallback + note;
    });
    return "{\n" + fields.join("\n") + "\n" + "  ".repeat(depth) + "}";
  }
  if (schema.additionalProperties && schema.additionalProperties !== true) {
    return "{NAME: " + shape(schema.additionalProperties, all, depth + 1) + "}";
  }
  return type || "any";
}

function bodies(title, content, all) {
  const parts = [];
  for (const [media, body] of Object.entries(content || {})) {
    parts.push(make("p", title + ", " + media));
    if (body.schema) parts.push(make("pre", shape(body.schema, all, 0)));
  }
  return parts;
}

function route(path, method, operation, all) {
  const details = make("details");
  const summary = make("summary");
  summary.append(make("code", method.toUpperCase(), "method"), make("code", path), " ", make("span", operation["x-role"] || "anybody", "role"), " ", operation.summary || "");
  details.append(summary);
  if (operation.description) details.append(make("p", operation.description));
  const parameters = operation.parameters || [];
  if (parameters.length) {
    const table = make("table");
    for (const parameter of parameters) {
      const row = make("tr");
      row.append(make("td", parameter.name), make("td", parameter.in), make("td", parameter.description || ""));
      table.append(row);
    }
    details.append(table);
  }
  if (operation.requestBody) details.append(...bodies("Body", operation.requestBody.content, all));
  for (const [status, response] of Object.entries(operation.responses || {})) {
    details.append(make("p", status + ": " + (response.description || "")));
    if (status !== "default") details.append(...bodies("Answer", response.content, all));
  }
  details.dataset.text = (method + " " + path + " " + (operation.summary || "")).toLowerCase();
  return details;
}

function show(description) {
  const all = (description.components && description.components.schemas) || {};
  const groups = new Map();
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of ["get", "post", "put", "patch", "delete"]) {
      const operation = item[method];
      if (!operation) continue;
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, operation, all));
    }
  }
  const main = document.getElementById("routes");
  main.replaceChildren();
  for (const [tag, routes] of groups) {
    const section = make("section");
    section.append(make("h2", tag), ...routes);
    main.append(section);
  }
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const details of main.querySelectorAll("details")) {
      details.hidden = !words.every((word) => details.dataset.text.includes(word));
    }
  });
}

fetch("/api/openapi.json")
  .then((response) => response.json())
  .then(show)
  .catch((error) => {
    document.getElementById("routes").replaceChildren(make("p", "The description could not be read: " + error));
  });
