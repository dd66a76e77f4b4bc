import { type ReactNode, useEffect, useRef, useState } from "react";
import type { Schemas } from "../../api/client";
import { Graph } from "../../components/Graph";
import type { Band, Threshold } from "../../components/graphDrawing";
import type { Mark } from "../../components/Marks";
import { Trouble, toneOf, Wait } from "../../components/parts";
import { absolute, pan, resolve } from "../../lib/range";
import { causeText, stepText } from "../../lib/runs";
import { spanText } from "../../lib/time";
import { bandsOf } from "../../lib/triggers";
import { valueText } from "../../lib/value";
import { useGraph } from "./useGraph";
import type { Context } from "./view";
import { WhyNot } from "./WhyNot";

/** Renders its children only once they come into sight: a page may have hundreds of graphs. */
function InSight({ children, height }: { children: (seen: boolean) => ReactNode; height: number }) {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    const target = place.current;
    if (!target || seen) {
      return;
    }
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) {
          setSeen(true);
        }
      },
      { rootMargin: "300px" },
    );
    observer.observe(target);
    return () => observer.disconnect();
  }, [seen]);
  return (
    <div ref={place} style={{ minHeight: height }}>
      {children(seen)}
    </div>
  );
}

export function GraphCard({ counter, context, big }: { counter: Schemas["Counter"]; context: Context; big?: boolean }) {
  return (
    <InSight height={big ? 420 : 285}>
      {(seen) => <GraphInSight counter={counter} context={context} big={big ?? false} seen={seen} />}
    </InSight>
  );
}

function GraphInSight({
  counter,
  context,
  big,
  seen,
}: {
  counter: Schemas["Counter"];
  context: Context;
  big: boolean;
  seen: boolean;
}) {
  const { query, shown } = useGraph(counter, context, seen);
  const now = Date.now();
  const { from, to } = query.data ?? resolve(context.range, now);
  const watching = context.triggers.filter(
    (one) =>
      one.cluster === context.cluster && one.enabled !== false && one.when.some((c) => c.counter === counter.name),
  );
  const thresholds: Threshold[] = watching.flatMap((trigger) =>
    trigger.when
      .filter((condition) => condition.counter === counter.name)
      .flatMap((condition) => {
        const level = `${trigger.name} ${condition.op} ${valueText(condition.threshold, counter.unit)}`;
        const recovers = condition.recover ?? null;
        return [
          { value: condition.threshold, label: level },
          ...(recovers === null
            ? []
            : [{ value: recovers, label: `recovers at ${valueText(recovers, counter.unit)}`, soft: true }]),
        ];
      }),
  );
  const bands: Band[] = watching.flatMap((trigger) =>
    bandsOf(trigger, context.events, now).filter((band) => !context.node || !band.node || band.node === context.node),
  );
  const marks: Mark[] =
    watching.length === 0 && !big
      ? []
      : context.runs
          .filter((run) => !context.node || !run.node || run.node === context.node)
          .map((run) => ({
            at: Date.parse(run.created),
            title: `Run ${run.id}: ${stepText(run)} on ${run.node ?? run.cluster}, ${causeText(run.cause)}, ${run.state}`,
            run: run.id,
            tone: toneOf(run.state),
          }));
  const open = () => context.change({ counter: counter.name });
  return (
    <div className="card graph">
      <header>
        <h2 className="cut">
          {big ? (
            counter.name
          ) : (
            <a
              href={`?counter=${counter.name}`}
              title={counter.description}
              onClick={(event) => {
                event.preventDefault();
                open();
              }}
            >
              {counter.name}
            </a>
          )}
        </h2>
        <span className="quiet small cut">{counter.unit || counter.description}</span>
        <span className="quiet small push num">
          {[
            shown.labels.length > 1 && `${shown.labels.length} series`,
            query.data?.step && `${context.agg} over ${spanText(query.data.step)}`,
          ]
            .filter(Boolean)
            .join(" · ")}
        </span>
      </header>
      {query.isError && !query.data ? (
        <Trouble error={query.error} again={() => void query.refetch()} />
      ) : !seen ? null : !query.data ? (
        <Wait lines={1} chart />
      ) : (
        <Graph
          title={counter.name}
          data={shown.aligned}
          labels={shown.labels}
          unit={counter.unit ?? ""}
          from={from}
          to={to}
          height={big ? 340 : 190}
          legend={big ? "tall" : "short"}
          group="monitor"
          thresholds={thresholds}
          bands={bands}
          marks={marks}
          nothing={shown.labels.length === 0 ? "No samples in this range. Below it says why." : undefined}
          onZoom={(begin, end) => {
            const next = absolute(begin, end);
            context.change({ from: next.from, to: next.to });
          }}
          onReset={() => history.back()}
          onPan={(part) => {
            const next = pan(context.range, part, Date.now());
            context.change({ from: next.from, to: next.to });
          }}
        />
      )}
      {query.data && shown.labels.length === 0 && !big && <WhyNot counter={counter.name} context={context} />}
    </div>
  );
}
