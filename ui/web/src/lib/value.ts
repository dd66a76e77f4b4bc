/** Values with their units, short enough for an axis and exact enough to compare. */

const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
const DECIMAL: [number, string][] = [
  [1e12, " T"],
  [1e9, " G"],
  [1e6, " M"],
  [1e3, " k"],
];

function digits(value: number): string {
  const size = Math.abs(value);
  const places = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
  return Number(value.toFixed(places)).toString();
}

/** A value without its unit's name where that says nothing of the scale: `0.61`, `512 MiB`, `12.3 k`. */
export function valueText(value: number | null | undefined, unit = ""): string {
  if (value === null || value === undefined || Number.isNaN(value)) {
    return "–";
  }
  if (unit === "bytes" || unit === "B") {
    let scaled = value;
    let at = 0;
    while (Math.abs(scaled) >= 1024 && at < BINARY.length - 1) {
      scaled /= 1024;
      at += 1;
    }
    return `${digits(scaled)} ${BINARY[at]}B`;
  }
  if (unit === "%") {
    return `${digits(value)} %`;
  }
  if (unit === "s" || unit === "seconds") {
    return Math.abs(value) < 1 && value !== 0 ? `${digits(value * 1000)} ms` : `${digits(value)} s`;
  }
  if (unit === "ms") {
    return `${digits(value)} ms`;
  }
  const scale = DECIMAL.find(([size]) => Math.abs(value) >= size * 10);
  const number = scale ? `${digits(value / scale[0])}${scale[1]}` : digits(value);
  return unit === "" || unit === "load" ? number : `${number} ${unit}`;
}

/** A count with thin spaces: `12 345`. */
export function countText(count: number): string {
  return String(Math.round(count)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** `1 node`, `3 nodes`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : many}`;
}

/** Bytes as people say them. */
export function bytesText(bytes: number): string {
  return valueText(bytes, "bytes");
}
