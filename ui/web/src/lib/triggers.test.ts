import { expect, it } from "vitest";
import type { Schemas } from "../api/client";
import { bandsOf, conditionText } from "./triggers";

const trigger = {
  name: "busy",
  cluster: "web",
  for: "10s",
  per: "node",
  steps: [],
  when: [{ counter: "load1", op: ">", threshold: 2.5 }],
} as unknown as Schemas["Trigger"];

const event = (type: string, at: number, node: string) =>
  ({
    id: at,
    at: new Date(at).toISOString(),
    type,
    name: "busy",
    actor: "system",
    message: `trigger \`busy\` on node \`${node}\``,
  }) as Schemas["Event"];

it("says a condition in words", () => {
  expect(conditionText(trigger)).toBe("load1 > 2.5 for 10 s");
  expect(conditionText({ ...trigger, aggregate: "avg", for: "0s" })).toBe("avg of load1 > 2.5");
});

it("makes bands of firings, by node", () => {
  const events = [
    event("trigger-recovered", 70_000, "a"),
    event("trigger-fired", 60_000, "b"),
    event("trigger-fired", 50_000, "a"),
  ];
  expect(bandsOf(trigger, events, 100_000)).toEqual([
    { from: 40_000, to: 50_000, state: "pending", node: "a" },
    { from: 50_000, to: 60_000, state: "pending", node: "b" },
    { from: 50_000, to: 70_000, state: "firing", node: "a" },
    { from: 60_000, to: 100_000, state: "firing", node: "b" },
  ]);
});
