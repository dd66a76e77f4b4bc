import { expect, it } from "vitest";
import { bytesText, countText, plural, valueText } from "./value";

it("keeps about three digits", () => {
  expect(valueText(0.6123)).toBe("0.61");
  expect(valueText(0.0123)).toBe("0.0123");
  expect(valueText(12.345)).toBe("12.3");
  expect(valueText(123_456)).toBe("123 k");
  expect(valueText(1234)).toBe("1234");
  expect(valueText(null)).toBe("–");
});

it("scales what has a unit", () => {
  expect(valueText(3 * 1024 ** 2, "bytes")).toBe("3 MiB");
  expect(valueText(0.012, "s")).toBe("12 ms");
  expect(valueText(14.6, "%")).toBe("14.6 %");
  expect(valueText(512, "MiB")).toBe("512 MiB");
  expect(valueText(0.5, "load")).toBe("0.5");
  expect(bytesText(100)).toBe("100 B");
});

it("counts", () => {
  expect(countText(1234567)).toBe("1\u202f234\u202f567");
  expect(plural(1, "node")).toBe("1 node");
  expect(plural(0, "entry", "entries")).toBe("0 entries");
});
