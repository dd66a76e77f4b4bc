import type { Schemas } from "../../api/client";
import { useQueryString } from "../../components/useQueryString";
import { DEFAULT_RANGE, type Range } from "../../lib/range";

/** What part of the URL says what is shown. Everything else follows from it. */
export function useView() {
  const { params, change } = useQueryString();
  const range: Range = { from: params.get("from") ?? DEFAULT_RANGE.from, to: params.get("to") ?? DEFAULT_RANGE.to };
  const refresh = params.get("refresh") ?? "10s";
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
