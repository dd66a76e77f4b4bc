import { expect, it } from "vitest";
import { find } from "./find";

const things = [
  { to: "/1", text: "web01", what: "node", more: "10.0.0.1" },
  { to: "/2", text: "web", what: "cluster" },
  { to: "/3", text: "web-busy", what: "trigger", more: "load is high" },
];

it("finds names before words, and all words in any order", () => {
  expect(find(things, "web").map((one) => one.text)).toEqual(["web", "web01", "web-busy"]);
  expect(find(things, "high trigger").map((one) => one.text)).toEqual(["web-busy"]);
  expect(find(things, "10.0.0").map((one) => one.text)).toEqual(["web01"]);
  expect(find(things, "nothing")).toEqual([]);
});
