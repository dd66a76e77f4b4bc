import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { samples } from "../../api/queries";
import { sparkline } from "../../lib/series";
import { parseSpan } from "../../lib/time";
import { valueText } from "../../lib/value";

export function Load({ cluster, counter }: { cluster: string; counter: Schemas["Counter"] | undefined }) {
  const query = useQuery({
    ...samples(
      {
        cluster,
        counter: counter?.name ?? "",
        range: { from: "-1h", to: "now" },
        interval: parseSpan(counter?.interval ?? "10s") ?? 10_000,
        agg: "avg",
        across: "avg",
        points: 120,
      },
      15_000,
    ),
    enabled: counter !== undefined,
  });
  const points = (query.data?.series[0]?.points ?? []) as [number, number][];
  const last = points.at(-1)?.[1];
  if (!counter) {
    return <span className="quiet">No counters yet</span>;
  }
  return (
    <div className="row nowrap" style={{ gap: 14 }}>
      <div>
        <div className="value">{valueText(last, counter.unit)}</div>
        <div className="quiet small cut">{counter.name}, average</div>
      </div>
      <svg className="spark" viewBox="0 0 200 34" preserveAspectRatio="none" aria-hidden="true">
        <polyline
          points={sparkline(points, 200, 34)}
          fill="none"
          stroke="var(--accent)"
          strokeWidth="1.5"
          vectorEffect="non-scaling-stroke"
        />
      </svg>
    </div>
  );
}
