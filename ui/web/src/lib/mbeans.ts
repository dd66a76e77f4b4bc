/** Names and values of MBeans as people read them. */

export interface ObjectName {
  domain: string;
  /** In the order of the name; values without their quotes. */
  keys: [string, string][];
  /** Whether it is a pattern that takes further keys. */
  open: boolean;
}

/** The parts of an object name, or of a pattern; `null` where it is none. */
export function objectName(text: string): ObjectName | null {
  const colon = text.indexOf(":");
  if (colon < 0) {
    return null;
  }
  const name: ObjectName = { domain: text.slice(0, colon), keys: [], open: false };
  // A value in quotes may hold commas, and a quote of its own after a backslash.
  for (const [, part = ""] of text.slice(colon + 1).matchAll(/((?:[^,"]|"(?:\\.|[^"\\])*")+)/g)) {
    const equals = part.indexOf("=");
    if (part === "*") {
      name.open = true;
    } else if (equals < 1) {
      return null;
    } else {
      const value = part.slice(equals + 1);
      const plain = /^".*"$/.test(value) ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
      name.keys.push([part.slice(0, equals), plain]);
    }
  }
  return name.keys.length > 0 || name.open ? name : null;
}

function fits(pattern: string, text: string): boolean {
  const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s").test(text);
}

/** Whether a counter of `pattern` reads the MBean of this name, too. */
export function matches(pattern: string, text: string): boolean {
  const [wanted, found] = [objectName(pattern), objectName(text)];
  if (!wanted || !found || !fits(wanted.domain, found.domain)) {
    return false;
  }
  const there = new Map(found.keys);
  const all = wanted.keys.every(([key, value]) => {
    const own = there.get(key);
    return own !== undefined && fits(value, own);
  });
  return all && (wanted.open || wanted.keys.length === found.keys.length);
}

/** The pattern for an instance of each MBean of the same type: `type=MemoryPool,name=*`. Null where there is only one. */
export function kindred(text: string): string | null {
  const name = objectName(text);
  if (!name || name.keys.length < 2 || text.includes("*")) {
    return null;
  }
  const [first, ...rest] = name.keys.some(([key]) => key === "type")
    ? [...name.keys].sort(([a], [b]) => Number(b === "type") - Number(a === "type"))
    : name.keys;
  if (!first || /[,="*?\\]/.test(first[1])) {
    return null;
  }
  return `${name.domain}:${first[0]}=${first[1]},${rest.map(([key]) => `${key}=*`).join(",")}`;
}

export interface Leaf {
  name: string;
  /** What tells it from the others of its group. */
  text: string;
}

export interface Group {
  key: string;
  text: string;
  leaves: Leaf[];
}

/** The MBeans of a domain, by their type; those that are alone in their type come as a group of one. */
export function grouped(names: readonly string[]): Group[] {
  const groups = new Map<string, Leaf[]>();
  for (const name of names) {
    const keys = objectName(name)?.keys ?? [];
    const first = keys.find(([key]) => key === "type") ?? keys[0];
    const rest = keys.filter((pair) => pair !== first);
    const words = rest.length === 1 ? rest[0]?.[1] : rest.map(([key, value]) => `${key}=${value}`).join(", ");
    const type = first ? (first[0] === "type" ? first[1] : `${first[0]}=${first[1]}`) : name;
    groups.set(type, [...(groups.get(type) ?? []), { name, text: words || type }]);
  }
  const numeric = (a: { text: string }, b: { text: string }) => a.text.localeCompare(b.text, "en", { numeric: true });
  return [...groups]
    .map(([text, leaves]) => ({ key: text, text, leaves: leaves.sort(numeric) }))
    .sort((a, b) => a.text.localeCompare(b.text, "en", { numeric: true }));
}

/** `[Ljava.lang.String;` as Java's source has it, without its package: `String[]`. */
export function typeText(type: string): string {
  const primitive: Record<string, string> = {
    Z: "boolean",
    B: "byte",
    C: "char",
    S: "short",
    I: "int",
    J: "long",
    F: "float",
    D: "double",
  };
  const depth = /^\[*/.exec(type)?.[0].length ?? 0;
  const inner = type.slice(depth);
  const name = depth === 0 ? inner : inner.startsWith("L") ? inner.slice(1, -1) : (primitive[inner] ?? inner);
  return (name.split(".").at(-1) ?? name) + "[]".repeat(depth);
}

export interface Row {
  attribute: string;
  /** Where in composite data; empty where the value is the attribute's own. */
  key: string;
  /** The last part of the key; a part may hold dots of its own. */
  part: string;
  /** How many parts the key has. */
  depth: number;
  /** Absent where the row only heads those that follow. */
  value?: unknown;
}

const DEPTH_MAX = 6;
const ROWS_MAX = 500;

/** The rows of an attribute: one for each value that a counter can name, after one that heads them where there are several. */
export function rowsOf(attribute: string, value: unknown): Row[] {
  const rows: Row[] = [];
  const unfold = (inner: unknown, key: string, part: string, depth: number) => {
    if (inner !== null && typeof inner === "object" && !Array.isArray(inner) && depth < DEPTH_MAX) {
      rows.push({ attribute, key, part, depth });
      for (const [name, its] of Object.entries(inner)) {
        unfold(its, key ? `${key}.${name}` : name, name, depth + 1);
      }
    } else {
      rows.push({ attribute, key, part, depth, value: inner });
    }
  };
  unfold(value, "", "", 0);
  return rows.slice(0, ROWS_MAX);
}

/** Whether a counter can read it: a number, or what is one when it is read. */
export function isCountable(value: unknown): boolean {
  return (
    typeof value === "number" ||
    typeof value === "boolean" ||
    (typeof value === "string" && value.trim() !== "" && Number.isFinite(Number(value)))
  );
}

/** A value as text; numbers with their thousands apart. */
export function shownValue(value: unknown): string {
  if (value === null || value === undefined) {
    return "null";
  }
  if (typeof value === "number" && Number.isInteger(value)) {
    return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A counter's name from what it reads, as the CLI makes it: `memory-heap-memory-usage-used`. */
export function counterName(mbean: string, attribute: string, key: string): string {
  const keys = new Map(objectName(mbean)?.keys ?? []);
  const own = keys.get("name");
  return [keys.get("type"), own?.includes("*") ? undefined : own, attribute, key]
    .filter((part) => part)
    .map((part) =>
      String(part)
        .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
        .replace(/[^A-Za-z0-9]+/g, "-")
        .toLowerCase(),
    )
    .join("-")
    .replace(/-+/g, "-")
    .replace(/^-/, "")
    .slice(0, 63)
    .replace(/-+$/, "");
}

/** What a value seems to count. */
export function guessedUnit(attribute: string, key: string): string {
  const words = `${attribute} ${key}`;
  if (/Load$/.test(attribute)) {
    return "";
  }
  if (/memory|bytes|size\b|heap|capacity/i.test(words) && !/count|threshold/i.test(words)) {
    return "bytes";
  }
  if (/thread/i.test(attribute) && /count/i.test(attribute)) {
    return "threads";
  }
  return /time$/i.test(attribute) && !/start/i.test(attribute) ? "ms" : "";
}

/** Patterns that find what has these letters in its domain, its type or its name. */
export function patternsFor(typed: string): string[] {
  const text = typed.trim();
  if (/^[^:]*:.+/.test(text)) {
    return [text];
  }
  const word = text.replace(/[,=:"*?\\\n]/g, "");
  if (word === "") {
    return [];
  }
  const spelled = [...new Set([word, word.charAt(0).toUpperCase() + word.slice(1)])];
  return spelled.flatMap((one) => [`*${one}*:*`, `*:type=*${one}*,*`, `*:name=*${one}*,*`]);
}
