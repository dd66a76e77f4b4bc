/** Samples made ready to be drawn: one axis of times for all series, gaps where samples are missing. */

export type Point = [number, number];

export interface Line {
  key: string;
  label: string;
  points: Point[];
}

export interface Aligned {
  /** Seconds since the epoch, ascending, as uPlot takes them. */
  times: number[];
  /** One a line: a value; `null` where the line is broken; `undefined` where it just has no sample at that time. */
  values: (number | null | undefined)[][];
}

/** A line is broken where samples are further apart than so many of their usual distance. */
const GAP_STEPS = 3;

/**
 * Puts all lines on one axis. `every` is how far apart samples usually are, in ms.
 */
export function align(lines: readonly Line[], every: number): Aligned {
  const at = new Map<number, number>();
  let longest: Point[] = [];
  for (const line of lines) {
    if (line.points.length > longest.length) {
      longest = line.points;
    }
  }
  for (const [time] of longest) {
    at.set(time, 0);
  }
  const breaks: number[] = [];
  let ordered = true;
  for (const line of lines) {
    let before = Number.NEGATIVE_INFINITY;
    for (const [time] of line.points) {
      if (!at.has(time)) {
        at.set(time, 0);
        ordered = false;
      }
      if (time - before > GAP_STEPS * every && before > 0) {
        breaks.push(before + every);
      }
      before = time;
    }
  }
  for (const time of breaks) {
    if (!at.has(time)) {
      at.set(time, 0);
      ordered = false;
    }
  }
  const axis = [...at.keys()];
  if (!ordered) {
    axis.sort((a, b) => a - b);
  }
  for (let index = 0; index < axis.length; index += 1) {
    at.set(axis[index] as number, index);
  }
  const values = lines.map((line) => {
    const row: (number | null | undefined)[] = new Array(axis.length);
    let before = Number.NEGATIVE_INFINITY;
    for (const [time, value] of line.points) {
      if (time - before > GAP_STEPS * every && before > 0) {
        row[at.get(before + every) as number] ??= null;
      }
      row[at.get(time) as number] = value;
      before = time;
    }
    return row;
  });
  return { times: axis.map((time) => time / 1000), values };
}

export interface SeriesName {
  node?: string | null;
  jvm?: string | null;
  instance?: string | null;
}

export function seriesKey(series: SeriesName): string {
  return [series.node ?? "", series.jvm ?? "", series.instance ?? ""].join("\u0000");
}

/** What tells a series from the others: what all of them share is left out. */
export function seriesLabels(series: readonly SeriesName[]): string[] {
  const differs = (part: keyof SeriesName) => new Set(series.map((one) => one[part] ?? "")).size > 1;
  const parts = (["node", "jvm", "instance"] as const).filter(differs);
  return series.map((one) => {
    const shown = (parts.length > 0 ? parts : (["node", "jvm", "instance"] as const)).map((part) => one[part]);
    return shown.filter(Boolean).join(" ") || "all";
  });
}

/** Colours that are told apart on dark and light, also by many who see few colours. */
const PALETTE = [
  "#3f83f0",
  "#e08a1e",
  "#1fa97a",
  "#d84f8b",
  "#8b6cf0",
  "#16a3bd",
  "#b0912a",
  "#e2604a",
  "#5f7fa8",
  "#6aa121",
  "#b45fd0",
  "#7d8794",
];

export function seriesColour(index: number): string {
  return PALETTE[index % PALETTE.length] as string;
}

/** The value that a line has at an index of the axis, or had shortly before. */
export function valueBefore(row: readonly (number | null | undefined)[], index: number): number | null {
  for (let at = index; at >= 0 && at > index - 12; at -= 1) {
    const value = row[at];
    if (value !== undefined) {
      return value;
    }
  }
  return null;
}

/** A polyline's `points` for a small picture of `width` × `height`; `""` where there is nothing to draw. */
export function sparkline(points: readonly Point[], width: number, height: number, least = 0): string {
  if (points.length < 2) {
    return "";
  }
  const first = points[0]?.[0] ?? 0;
  const span = (points.at(-1)?.[0] ?? 1) - first || 1;
  let low = Math.min(least, ...points.map((point) => point[1]));
  const high = Math.max(...points.map((point) => point[1]));
  if (high === low) {
    low -= 1;
  }
  const place = ([time, value]: Point) =>
    `${(((time - first) / span) * width).toFixed(1)},${(height - ((value - low) / (high - low)) * (height - 2) - 1).toFixed(1)}`;
  return points.map(place).join(" ");
}

/** What is shown, as a table for other programs (RFC 4180). */
export function csv(
  header: readonly string[],
  rows: readonly (readonly (string | number | null | undefined)[])[],
): string {
  const cell = (value: string | number | null | undefined) => {
    const text = value === null || value === undefined ? "" : String(value);
    // A spreadsheet must not take what a host printed for a formula.
    const tame = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(tame) ? `"${tame.replaceAll('"', '""')}"` : tame;
  };
  return [header, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
}
