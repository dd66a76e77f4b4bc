import { describe, expect, it } from "vitest";
import { agoText, apiSpan, clockText, fullText, inputMoment, inputText, momentText, parseSpan, spanText } from "./time";

describe("time", () => {
  it("reads spans as the API writes them", () => {
    expect(parseSpan("90s")).toBe(90_000);
    expect(parseSpan("1h30m")).toBe(5_400_000);
    expect(parseSpan("250ms")).toBe(250);
    for (const bad of ["", "5", "5 m", "m", "1x"]) {
      expect(parseSpan(bad)).toBeNull();
    }
  });

  it("says spans in at most two units", () => {
    expect(spanText(250)).toBe("250 ms");
    expect(spanText(90_000)).toBe("1 min 30 s");
    expect(spanText(86_400_000 + 3_600_000 + 5000)).toBe("1 d 1 h");
    expect(apiSpan(90_000)).toBe("90s");
    expect(apiSpan(1500)).toBe("1500ms");
  });

  it("says how long ago", () => {
    expect(agoText(0, 1000)).toBe("now");
    expect(agoText(0, 185_000)).toBe("3 min ago");
    expect(agoText(7_200_000, 0)).toBe("in 2 h");
  });

  it("shows moments in UTC", () => {
    const at = Date.UTC(2026, 10, 22, 22, 41, 5, 123);
    expect(clockText(at, "utc")).toBe("22:41:05");
    expect(momentText(at, "utc", at)).toBe("22 Nov 22:41:05");
    expect(momentText(at, "utc", at + 4e10)).toBe("22 Nov 2026 22:41:05");
    expect(fullText(at, "utc")).toBe("2026-11-22 22:41:05.123 UTC");
    expect(inputMoment(inputText(at, "utc"), "utc")).toBe(at - 123);
    expect(inputMoment(inputText(at, "local"), "local")).toBe(at - 123);
  });
});
