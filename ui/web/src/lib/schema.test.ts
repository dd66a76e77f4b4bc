import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { KINDS } from "../api/kinds";
import { blank, type Field, fieldsOf, isOffered, type Schema, title } from "./schema";

const all = JSON.parse(readFileSync("openapi.json", "utf8")).components.schemas as Record<string, Schema>;
const fields = (name: string) => fieldsOf(all[name] as Schema, all);
const one = (list: Field[], name: string) => list.find((field) => field.name === name);

it("makes a form of every kind, without what cannot be written", () => {
  for (const kind of Object.values(KINDS)) {
    const list = fields(kind.schema);
    expect(list[0]?.name).toBe("name");
    for (const hidden of ["version", "created", "updated", "kind"]) {
      expect(one(list, hidden)).toBeUndefined();
    }
    expect(list.filter((field) => field.type === "any")).toEqual([]);
  }
});

it("knows texts that may live elsewhere, words, spans, lists and maps", () => {
  const action = fields("Action");
  expect(one(action, "script")).toMatchObject({ type: "variants", free: true });
  expect(one(action, "retry")).toMatchObject({ type: "object" });
  expect(one(action, "env")).toMatchObject({ type: "map" });
  expect(one(action, "for")).toMatchObject({ type: "text" });
  expect(one(fields("Counter"), "parse")).toMatchObject({ type: "variants", free: false });
  expect(one(fields("Counter"), "clusters")).toMatchObject({ type: "texts", required: true });
  expect(one(fields("Trigger"), "when")).toMatchObject({ type: "list" });
  expect(one(fields("Node"), "port")).toMatchObject({ type: "number", optional: true });
});

it("begins a new object with what it needs", () => {
  expect(blank(fields("Trigger"))).toMatchObject({ when: [{ op: ">" }], steps: [{}] });
  expect(title("ssh_profile")).toBe("SSH profile");
});

it("offers the fields of an object's type, and those that it has", () => {
  const offered = (object: Record<string, unknown>) =>
    fields("Counter")
      .filter((field) => isOffered(field, object))
      .map((field) => field.name);
  expect(offered({ type: "ssh" })).toContain("script");
  expect(offered({ type: "ssh" })).not.toContain("mbean");
  expect(offered({ type: "push" })).not.toContain("script");
  expect(offered({ type: "push", script: "true" })).toContain("script");
  expect(offered({ type: "jmx" })).toEqual(expect.arrayContaining(["mbean", "attribute", "key", "rate", "interval"]));
  expect(one(fields("Counter"), "attribute")?.description).toBe("The attribute's name.");
});
