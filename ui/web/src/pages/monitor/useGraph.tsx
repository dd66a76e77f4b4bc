import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useMemo } from "react";
import type { Schemas } from "../../api/client";
import { samples } from "../../api/queries";
import { align, type Point, seriesKey, seriesLabels } from "../../lib/series";
import { parseSpan } from "../../lib/time";
import type { Context } from "./view";

export function useGraph(counter: Schemas["Counter"], context: Context, enabled: boolean) {
  const every = parseSpan(counter.interval ?? "10s") ?? 10_000;
  const query = useQuery({
    ...samples(
      {
        counter: counter.name,
        cluster: context.cluster,
        ...(context.node ? { node: context.node } : {}),
        ...(context.jvm ? { jvm: context.jvm } : {}),
        range: context.range,
        interval: every,
        agg: context.agg,
      },
      context.refresh,
    ),
    enabled,
  });
  const data = useDeferredValue(query.data);
  const shown = useMemo(() => {
    // A JVM's name is its profile's: several nodes may have one, and the API narrows to the JVMs of one node only.
    const series = (data?.series ?? []).filter((one) => !context.jvm || one.jvm === context.jvm);
    const sorted = series.sort((a, b) => seriesKey(a).localeCompare(seriesKey(b), "en", { numeric: true }));
    const labels = seriesLabels(sorted);
    const lines = sorted.map((one, index) => ({
      key: seriesKey(one),
      label: labels[index] ?? "",
      points: one.points as unknown as Point[],
    }));
    return { labels, lines, aligned: align(lines, data?.step ?? every) };
  }, [data, every, context.jvm]);
  return { query, shown, every };
}
