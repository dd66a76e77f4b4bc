import { useCallback } from "react";
import { useSearchParams } from "react-router";
import type { Schemas } from "../../api/client";
import { DEFAULT_RANGE, type Range } from "../../lib/range";

/** What part of the URL says what is shown. Everything else follows from it. */
export function useView() {
  const [params, setParams] = useSearchParams();
  const range: Range = { from: params.get("from") ?? DEFAULT_RANGE.from, to: params.get("to") ?? DEFAULT_RANGE.to };
  const refresh = params.get("refresh") ?? "10s";
  const change = useCallback(
    (changes: Record<string, string | null>, replace = false) => {
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [key, value] of Object.entries(changes)) {
            if (value === null || value === "") {
              next.delete(key);
            } else {
              next.set(key, value);
            }
          }
          return next;
        },
        { replace },
      );
    },
    [setParams],
  );
  return { params, range, refresh, change };
}

export interface Context {
  cluster: string;
  node: string | null;
  jvm: string | null;
  range: Range;
  refresh: number | false;
  agg: string;
  triggers: Schemas["Trigger"][];
  events: Schemas["Event"][];
  runs: Schemas["Run"][];
  change: (changes: Record<string, string | null>) => void;
}
