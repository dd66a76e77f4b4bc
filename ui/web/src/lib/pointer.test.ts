import { expect, it } from "vitest";
import { fromPointer, toPointer, valueAt, withValue } from "./pointer";

it("goes both ways", () => {
  expect(toPointer(["when", 0, "a/b", "c~d"])).toBe("/when/0/a~1b/c~0d");
  expect(fromPointer("/when/0/a~1b/c~0d")).toEqual(["when", "0", "a/b", "c~d"]);
  expect(fromPointer("")).toEqual([]);
});

it("reads and replaces without changing the original", () => {
  const root = { when: [{ op: ">" }], name: "a" };
  expect(valueAt(root, ["when", 0, "op"])).toBe(">");
  expect(valueAt(root, ["nothing", 0])).toBeUndefined();
  const changed = withValue(root, ["when", 0, "op"], "<");
  expect(changed).toEqual({ when: [{ op: "<" }], name: "a" });
  expect(root.when[0]?.op).toBe(">");
  expect(withValue(root, ["name"], undefined)).toEqual({ when: [{ op: ">" }] });
  expect(withValue({}, ["a", "b"], 1)).toEqual({ a: { b: 1 } });
});
