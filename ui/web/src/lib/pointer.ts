/** JSON pointers (RFC 6901): how the API says which field is wrong. */

export type Path = (string | number)[];

export function toPointer(path: Path): string {
  return path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

export function fromPointer(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The value at a path; `undefined` where there is none. */
export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      value !== null && typeof value === "object" ? (value as Record<string, unknown>)[part] : undefined,
    root,
  );
}

/** A copy with another value at a path; `undefined` takes it away. */
export function withValue(root: unknown, path: Path, value: unknown): unknown {
  const [first, ...rest] = path;
  if (first === undefined) {
    return value;
  }
  if (typeof first === "number") {
    const list = Array.isArray(root) ? [...root] : [];
    list[first] = withValue(list[first], rest, value);
    return list;
  }
  const object: Record<string, unknown> = root !== null && typeof root === "object" ? { ...root } : {};
  const next = withValue(object[first], rest, value);
  if (next === undefined) {
    delete object[first];
  } else {
    object[first] = next;
  }
  return object;
}
