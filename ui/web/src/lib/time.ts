/** Moments and spans as people read them. All moments are ms since the epoch, all spans ms. */

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

/** `"1h30m"`, `"90s"`, `"250ms"` as ms; `null` where it is no span. */
export function parseSpan(text: string): number | null {
  const parts = [...text.trim().matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text.trim()) {
    return null;
  }
  return parts.reduce((sum, [, amount, unit]) => {
    const size = UNITS.find(([name]) => name === unit)?.[1] ?? 0;
    return sum + Number(amount) * size;
  }, 0);
}

/** A span in at most two units: `"2 h 5 min"`. */
export function spanText(ms: number): string {
  const words: Record<string, string> = { d: "d", h: "h", m: "min", s: "s", ms: "ms" };
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  let rest = Math.round(ms / 1000) * 1000;
  const said: string[] = [];
  for (const [name, size] of UNITS) {
    const amount = Math.floor(rest / size);
    if (amount > 0) {
      said.push(`${amount} ${words[name]}`);
      rest -= amount * size;
    }
    if (said.length === 2) {
      break;
    }
  }
  return said.join(" ");
}

/** A span as the API takes it: `"90s"`. */
export function apiSpan(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${Math.round(ms)}ms`;
}

/** How long ago, or how far ahead: `"3 min ago"`, `"in 2 h"`. */
export function agoText(at: number, now: number): string {
  const away = Math.abs(now - at);
  if (away < 2000) {
    return "now";
  }
  const [name, size] = UNITS.find(([, unit]) => away >= unit) ?? ["s", 1000];
  const words = name === "m" ? "min" : name;
  const amount = `${Math.floor(away / size)} ${words}`;
  return at > now ? `in ${amount}` : `${amount} ago`;
}

export type Zone = "local" | "utc";

const formats = new Map<string, Intl.DateTimeFormat>();

function format(key: string, zone: Zone, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${key}/${zone}`;
  const known = formats.get(name);
  if (known) {
    return known;
  }
  const made = new Intl.DateTimeFormat("en-GB", { ...options, ...(zone === "utc" ? { timeZone: "UTC" } : {}) });
  formats.set(name, made);
  return made;
}

/** `22:41:05` */
export function clockText(at: number, zone: Zone): string {
  return format("clock", zone, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }).format(at);
}

/** `22 Nov 22:41:05`, with the year where it is another one. */
export function momentText(at: number, zone: Zone, now: number = Date.now()): string {
  const sameYear = new Date(at).getUTCFullYear() === new Date(now).getUTCFullYear();
  const day = sameYear
    ? format("day", zone, { day: "numeric", month: "short" })
    : format("year", zone, { day: "numeric", month: "short", year: "numeric" });
  return `${day.format(at)} ${clockText(at, zone)}`;
}

/** The whole truth, for titles: `2026-11-22 22:41:05.123 UTC` */
export function fullText(at: number, zone: Zone): string {
  const date = new Date(at);
  if (zone === "utc") {
    return date.toISOString().replace("T", " ").replace("Z", " UTC");
  }
  const shifted = new Date(at - date.getTimezoneOffset() * 60_000).toISOString().replace("T", " ").replace("Z", "");
  return `${shifted} local`;
}

/** What `<input type="datetime-local">` shows. */
export function inputText(at: number, zone: Zone): string {
  const shift = zone === "utc" ? 0 : new Date(at).getTimezoneOffset() * 60_000;
  return new Date(at - shift).toISOString().slice(0, 19);
}

/** What was typed into `<input type="datetime-local">`. */
export function inputMoment(text: string, zone: Zone): number | null {
  const at = Date.parse(zone === "utc" ? `${text}Z` : text);
  return Number.isNaN(at) ? null : at;
}
