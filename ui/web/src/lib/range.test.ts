import { describe, expect, it } from "vitest";
import { absolute, pan, resolve, stepFor, zoom } from "./range";

const now = 10_000_000;

describe("range", () => {
  it("reads relative and absolute ends, and falls back to the last hour", () => {
    expect(resolve({ from: "-5m", to: "now" }, now)).toEqual({ from: now - 300_000, to: now });
    expect(resolve({ from: "1000", to: "9000" }, now)).toEqual({ from: 1000, to: 9000 });
    for (const bad of [
      { from: "x", to: "now" },
      { from: "9000", to: "1000" },
      { from: "", to: "now" },
    ]) {
      expect(resolve(bad, now)).toEqual({ from: now - 3_600_000, to: now });
    }
  });

  it("pans by a part, and never beyond now", () => {
    expect(pan(absolute(1000, 9000), 0.5, now)).toEqual(absolute(5000, 13000));
    expect(pan(absolute(1000, 9000), -0.5, now)).toEqual(absolute(-3000, 5000));
    expect(pan({ from: "-1h", to: "now" }, 1, now)).toEqual(absolute(now - 3_600_000, now));
  });

  it("zooms around the middle", () => {
    expect(zoom(absolute(2000, 6000), 0.5, now)).toEqual(absolute(3000, 5000));
    expect(zoom(absolute(2000, 6000), 2, now)).toEqual(absolute(0, 8000));
  });

  it("steps no finer than the samples, and only where they are too many", () => {
    expect(stepFor(3_600_000, 800, 10_000)).toBeNull();
    expect(stepFor(86_400_000, 800, 10_000)).toBe(120_000);
    expect(stepFor(86_400_000, 800, 3_600_000)).toBeNull();
    expect(stepFor(86_400_000 * 900, 800, 1000)).toBe(86_400_000);
  });
});
