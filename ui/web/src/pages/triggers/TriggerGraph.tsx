import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef } from "react";
import type { Schemas } from "../../api/client";
import { events, objects, samples, triggerState } from "../../api/queries";
import { Graph } from "../../components/Graph";
import { type Range, resolve } from "../../lib/range";
import { align, type Point, seriesKey, seriesLabels } from "../../lib/series";
import { parseSpan } from "../../lib/time";
import { bandsOf } from "../../lib/triggers";
import { valueText } from "../../lib/value";
import type { Trigger } from "./words";

/** What a trigger's graph shows at first. */
export const START: Range = { from: "-15m", to: "now" };

/** What a trigger watches, with its firings drawn on it. */
export function TriggerGraph({
  trigger,
  range,
  firings,
  onZoom,
  onReset,
  height = 220,
}: {
  trigger: Trigger;
  range: Range;
  firings?: Schemas["TestFiring"][] | undefined;
  onZoom?: (from: number, to: number) => void;
  onReset?: () => void;
  height?: number;
}) {
  const counterName = trigger.when[0]?.counter ?? "";
  const counter = useQuery(objects("counter")).data?.find((one) => one.name === counterName);
  const past = useQuery(events({ name: trigger.name }, 200)).data?.items ?? [];
  const every = parseSpan(counter?.interval ?? "10s") ?? 10_000;
  const query = useQuery({
    ...samples(
      { counter: counterName, cluster: trigger.cluster, range, interval: every, agg: "max" },
      range.to === "now" ? 10_000 : false,
    ),
    enabled: counter !== undefined,
  });
  // What it fired at is to be seen as soon as it fires.
  const state = useQuery(triggerState(trigger.name)).data?.state;
  const { refetch } = query;
  const known = useRef(state);
  // biome-ignore lint/correctness/useExhaustiveDependencies: read again when it changes
  useEffect(() => {
    // The first state that is heard of is no change.
    if (known.current !== undefined && range.to === "now") {
      void refetch();
    }
    known.current = state;
  }, [state]);
  const shown = useMemo(() => {
    const sorted = [...(query.data?.series ?? [])].sort((a, b) =>
      seriesKey(a).localeCompare(seriesKey(b), "en", { numeric: true }),
    );
    const labels = seriesLabels(sorted);
    const lines = sorted.map((one, index) => ({
      key: seriesKey(one),
      label: labels[index] ?? "",
      points: one.points as unknown as Point[],
    }));
    return { labels, aligned: align(lines, query.data?.step ?? every) };
  }, [query.data, every]);
  const now = Date.now();
  const held = parseSpan(trigger.for ?? "0s") ?? 0;
  const { from, to } = query.data ?? resolve(range, now);
  const bands = firings
    ? firings.flatMap((firing) => {
        const at = Date.parse(firing.at);
        return [
          { from: at - held, to: at, state: "pending" as const },
          { from: at, to: firing.recovered ? Date.parse(firing.recovered) : to, state: "firing" as const },
        ];
      })
    : bandsOf(trigger, past, now);
  const unit = counter?.unit ?? "";
  const thresholds = trigger.when
    .filter((condition) => condition.counter === counterName)
    .flatMap((condition) => [
      { value: condition.threshold, label: `fires ${condition.op} ${valueText(condition.threshold, unit)}` },
      ...(condition.recover === null || condition.recover === undefined
        ? []
        : [{ value: condition.recover, label: `recovers at ${valueText(condition.recover, unit)}`, soft: true }]),
    ]);
  return (
    <Graph
      title={counterName}
      data={shown.aligned}
      labels={shown.labels}
      unit={unit}
      from={from}
      to={to}
      height={height}
      group={firings ? "test" : "trigger"}
      thresholds={thresholds}
      bands={bands}
      {...(onZoom ? { onZoom } : {})}
      {...(onReset ? { onReset } : {})}
    />
  );
}
