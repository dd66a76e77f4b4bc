/** What a form needs to know of a field, from the schemas by which the API describes itself. */

import type { Kind } from "../api/kinds";

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  description?: string;
  default?: unknown;
  example?: unknown;
  examples?: unknown[];
  pattern?: string;
  minimum?: number;
  maximum?: number;
  format?: string;
  readOnly?: boolean;
  writeOnly?: boolean;
}

export type Schemas = Record<string, Schema>;

interface Base {
  name: string;
  description: string;
  required: boolean;
  optional: boolean;
  default?: unknown;
  example?: string;
  writeOnly: boolean;
  /** The type of object that alone has it. */
  only?: string;
}

export type Field = Base &
  (
    | { type: "text"; format?: string | undefined; multiline: boolean }
    | { type: "number"; integer: boolean; min?: number; max?: number }
    | { type: "flag" }
    | { type: "choice"; options: string[] }
    | { type: "texts" }
    | { type: "list"; item: Field }
    | { type: "object"; fields: Field[] }
    | { type: "map"; item: Field }
    /** One of several shapes: a word of some, or an object with one field. */
    | { type: "variants"; words: string[]; free: boolean; shapes: Field[] }
    | { type: "any" }
  );

/** Fields whose text has lines. */
const MULTILINE = new Set([
  "script",
  "command",
  "content",
  "description",
  "stdin",
  "value",
  "reason",
  "body",
  "user_data",
]);

function resolve(schema: Schema, all: Schemas, depth = 0): Schema {
  if (schema.$ref && depth < 20) {
    const { $ref, ...own } = schema;
    const named = all[$ref.split("/").at(-1) ?? ""] ?? {};
    return { ...resolve(named, all, depth + 1), ...own };
  }
  if (schema.oneOf) {
    const real = schema.oneOf.filter((one) => one.type !== "null");
    if (real.length === 1 && real[0]) {
      const { oneOf, ...own } = schema;
      return {
        ...resolve(real[0], all, depth + 1),
        ...own,
        type: schema.type ?? resolve(real[0], all, depth + 1).type ?? "any",
      };
    }
  }
  return schema;
}

function typeOf(schema: Schema): string | undefined {
  return Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
}

function example(schema: Schema): string | undefined {
  const found = schema.example ?? schema.examples?.[0];
  return found === undefined ? undefined : String(found);
}

/** The field of a name with this schema. */
export function fieldOf(name: string, given: Schema, all: Schemas, required = false, depth = 0): Field {
  const schema = resolve(given, all);
  const shown = example(schema);
  // The API says of some fields that they are those of one type: "`jmx` only: the attribute's name."
  const own = /^`([a-z-]+)` only: (.)/.exec(schema.description ?? "");
  const base: Base = {
    name,
    description: own
      ? `${own[2]?.toUpperCase()}${schema.description?.slice(own[0].length)}`
      : (schema.description ?? ""),
    ...(own?.[1] ? { only: own[1] } : {}),
    required,
    optional: !required,
    writeOnly: schema.writeOnly ?? false,
    ...(schema.default === undefined || schema.default === null ? {} : { default: schema.default }),
    ...(shown === undefined ? {} : { example: shown }),
  };
  if (depth > 8) {
    return { ...base, type: "any" };
  }
  if (schema.oneOf) {
    const words: string[] = [];
    const shapes: Field[] = [];
    let free = false;
    for (const variant of schema.oneOf.map((one) => resolve(one, all))) {
      if (variant.enum) {
        words.push(...variant.enum.map(String));
      } else if (typeOf(variant) === "string") {
        free = true;
      } else if (variant.properties) {
        for (const [key, property] of Object.entries(variant.properties)) {
          shapes.push(fieldOf(key, property, all, true, depth + 1));
        }
      }
    }
    if (shapes.length === 0 && !free) {
      return { ...base, type: "choice", options: words };
    }
    // Either a text or some of them: a list of texts is both.
    if (shapes.length === 0) {
      return { ...base, type: "text", multiline: true };
    }
    return { ...base, type: "variants", words, free, shapes };
  }
  if (schema.enum) {
    return { ...base, type: "choice", options: schema.enum.filter((one) => one !== null).map(String) };
  }
  switch (typeOf(schema)) {
    case "boolean":
      return { ...base, type: "flag" };
    case "integer":
    case "number":
      return {
        ...base,
        type: "number",
        integer: typeOf(schema) === "integer",
        ...(schema.minimum === undefined ? {} : { min: schema.minimum }),
        ...(schema.maximum === undefined ? {} : { max: schema.maximum }),
      };
    case "array": {
      const item = fieldOf("item", schema.items ?? {}, all, true, depth + 1);
      return item.type === "text" ? { ...base, type: "texts" } : { ...base, type: "list", item };
    }
    case "object":
      if (schema.properties) {
        return { ...base, type: "object", fields: fieldsOf(schema, all, depth + 1) };
      }
      if (typeof schema.additionalProperties === "object") {
        return { ...base, type: "map", item: fieldOf("value", schema.additionalProperties, all, true, depth + 1) };
      }
      return { ...base, type: "any" };
    case "string":
      return { ...base, type: "text", format: schema.format, multiline: MULTILINE.has(name) };
    default:
      return { ...base, type: "any" };
  }
}

/** Fields that are shown last, in this order. */
const LAST = ["description", "labels"];
/** Fields in the order in which people think of them; what is not here follows. */
const FIRST = [
  [
    "name",
    "type",
    "cluster",
    "hostname",
    "port",
    "ssh_profile",
    "user",
    "role",
    "script",
    "jvm",
    "mbean",
    "attribute",
    "key",
    "operation",
    "signature",
    "args",
    "parse",
    "clusters",
  ],
  [
    "interval",
    "timeout",
    "unit",
    "when",
    "match",
    "for",
    "steps",
    "per",
    "aggregate",
    "cooldown",
    "no_data",
    "enabled",
  ],
].flat();

/** An object's fields that can be written: the needed ones first. */
export function fieldsOf(schema: Schema, all: Schemas, depth = 0): Field[] {
  const required = new Set(schema.required ?? []);
  const rank = (field: Field) => {
    const first = FIRST.indexOf(field.name);
    if (first >= 0) {
      return first - 100;
    }
    const last = LAST.indexOf(field.name);
    return last >= 0 ? 100 + last : field.required ? 0 : field.type === "object" || field.type === "list" ? 2 : 1;
  };
  return Object.entries(schema.properties ?? {})
    .filter(([name, property]) => !resolve(property, all).readOnly && name !== "kind")
    .map(([name, property]) => fieldOf(name, property, all, required.has(name), depth))
    .sort((a, b) => rank(a) - rank(b));
}

/** Whether an object has the field: those of another type are not offered, unless they are given already. */
export function isOffered(field: Field, object: Record<string, unknown>): boolean {
  return field.only === undefined || field.only === object["type"] || object[field.name] !== undefined;
}

/** Which kind of object a field names, so that those there are can be offered. */
export function refersTo(name: string): Kind | null {
  const kinds: Record<string, Kind> = {
    cluster: "cluster",
    clusters: "cluster",
    node: "node",
    jump: "node",
    ssh_profile: "ssh-profile",
    jvm: "jvm-profile",
    jvms: "jvm-profile",
    counter: "counter",
    action: "action",
    secret: "secret",
    file: "file",
  };
  return kinds[name] ?? null;
}

/** `ssh_profile` as people read it. */
export function title(name: string): string {
  const words: Record<string, string> = {
    ssh: "SSH",
    jvm: "JVM",
    jvms: "JVMs",
    url: "URL",
    env: "environment",
    mbean: "MBean",
  };
  const text = name
    .split("_")
    .map((word) => words[word] ?? word)
    .join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What a new object of these fields begins with. */
export function blank(fields: Field[]): Record<string, unknown> {
  const start: Record<string, unknown> = {};
  for (const field of fields) {
    if (!field.required) {
      continue;
    }
    if (field.type === "list") {
      start[field.name] = [field.item.type === "object" ? blank(field.item.fields) : ""];
    } else if (field.type === "texts") {
      start[field.name] = [];
    } else if (field.type === "choice") {
      start[field.name] = field.options[0];
    }
  }
  return start;
}
