import { expect, it, vi } from "vitest";

vi.stubGlobal("location", { hash: "", origin: "http://here", hostname: "here", pathname: "/", search: "" });
vi.stubGlobal("document", { visibilityState: "visible" });

it("reads again what a change touches, and nothing else", async () => {
  const { keysOf } = await import("./live");
  expect(keysOf({ kind: "node", name: "web01" })).toEqual([
    ["node", "list"],
    ["node", "one", "web01"],
  ]);
  expect(keysOf({ kind: "output", id: 7 })).toEqual([["output", 7]]);
  expect(keysOf({ kind: "trigger-state", name: "busy" })).toEqual([["trigger-state", "busy"]]);
  expect(keysOf({ kind: "something later" })).toEqual([]);
});
