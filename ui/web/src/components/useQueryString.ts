import { useCallback } from "react";
import { useSearchParams } from "react-router";

/** What the query string says, and how to change parts of it: an empty value takes its part away. */
export function useQueryString() {
  const [params, setParams] = useSearchParams();
  const change = useCallback(
    (changes: Record<string, string | null>, replace = false) => {
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [key, value] of Object.entries(changes)) {
            if (value) {
              next.set(key, value);
            } else {
              next.delete(key);
            }
          }
          return next;
        },
        { replace },
      );
    },
    [setParams],
  );
  return { params, change };
}

/** What the query string says of a list, by these names, and how to change one of them. */
export function useFilter(names: string[], replace = false) {
  const { params, change } = useQueryString();
  const filter = Object.fromEntries(names.map((name) => [name, params.get(name) ?? undefined]));
  const set = (name: string, value: string | null) => change({ [name]: value }, replace);
  return { filter, set };
}
