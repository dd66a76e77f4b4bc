import { parseSpan } from "./time";

/** What part of the past is shown: as the URL says it, relative (`-1h` to `now`) or absolute (ms since the epoch). */
export interface Range {
  from: string;
  to: string;
}

export const RANGES: { label: string; from: string }[] = [
  { label: "5 min", from: "-5m" },
  { label: "15 min", from: "-15m" },
  { label: "1 h", from: "-1h" },
  { label: "6 h", from: "-6h" },
  { label: "24 h", from: "-24h" },
  { label: "7 d", from: "-7d" },
  { label: "30 d", from: "-30d" },
];

export const DEFAULT_RANGE: Range = { from: "-1h", to: "now" };

export function isRelative(range: Range): boolean {
  return range.to === "now";
}

/** The range in ms; what is not understood is the default. */
export function resolve(range: Range, now: number): { from: number; to: number } {
  const moment = (text: string): number | null => {
    if (text === "now") {
      return now;
    }
    if (text.startsWith("-")) {
      const span = parseSpan(text.slice(1));
      return span === null ? null : now - span;
    }
    const ms = Number(text);
    return Number.isFinite(ms) && text !== "" ? ms : null;
  };
  const to = moment(range.to);
  const from = moment(range.from);
  if (from === null || to === null || from >= to) {
    return { from: now - 3_600_000, to: now };
  }
  return { from, to };
}

/** As the URL says it, cut to whole ms. */
export function absolute(from: number, to: number): Range {
  return { from: String(Math.round(from)), to: String(Math.round(Math.max(to, from + 1000))) };
}

/** The range moved by a part of its length; never beyond `now`. */
export function pan(range: Range, part: number, now: number): Range {
  const { from, to } = resolve(range, now);
  const by = Math.min((to - from) * part, now - to);
  return absolute(from + by, to + by);
}

/** The range made longer (`factor` above 1) or shorter around its middle. */
export function zoom(range: Range, factor: number, now: number): Range {
  const { from, to } = resolve(range, now);
  const middle = (from + to) / 2;
  const half = ((to - from) * factor) / 2;
  return absolute(middle - half, Math.min(middle + half, now));
}

const STEPS_MS = [
  1, 2, 5, 10, 15, 20, 30, 60, 90, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
].map((seconds) => seconds * 1000);

/**
 * The step that gives about `points` points for the range; `null` where samples every `interval` ms are fewer than that, so
 * that they can be shown as they are.
 */
export function stepFor(length: number, points: number, interval: number): number | null {
  if (length / interval <= points) {
    return null;
  }
  const wanted = length / points;
  return STEPS_MS.find((step) => step >= wanted && step >= interval) ?? 86_400_000;
}
