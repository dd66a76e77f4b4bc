import { ActionIcon, Button, Popover, SegmentedControl, Select, TextInput, Tooltip } from "@mantine/core";
import { useIsFetching, useQuery } from "@tanstack/react-query";
import { type ReactNode, useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { Link, useSearchParams } from "react-router";
import type { Schemas } from "../api/client";
import { checks, client, events, objects, runs, samples } from "../api/queries";
import { useMay } from "../api/session";
import { useNow, usePrefs } from "../app/prefs";
import { type Band, Graph, type Mark, type Threshold } from "../components/Graph";
import { Icon } from "../components/Icon";
import { Table } from "../components/Lists";
import { Badge, download, Empty, Head, Loaded, Section, Trouble, toneOf, Wait, When } from "../components/parts";
import { absolute, DEFAULT_RANGE, isRelative, pan, RANGES, type Range, resolve } from "../lib/range";
import { causeText, stepText } from "../lib/runs";
import { align, csv, type Point, seriesKey, seriesLabels } from "../lib/series";
import { inputMoment, inputText, momentText, parseSpan, spanText } from "../lib/time";
import { bandsOf, failureText } from "../lib/triggers";
import { plural, valueText } from "../lib/value";

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

const REFRESHES = ["off", "2s", "5s", "10s", "30s", "1m", "5m"];

export function RangeBar({
  range,
  refresh,
  change,
}: {
  range: Range;
  refresh: string;
  change: (changes: Record<string, string | null>) => void;
}) {
  const { zone } = usePrefs();
  const [open, setOpen] = useState(false);
  const now = Date.now();
  const { from, to } = resolve(range, now);
  const [begin, setBegin] = useState("");
  const [end, setEnd] = useState("");
  const fetching = useIsFetching({ queryKey: ["samples"] }) > 0;
  const relative = RANGES.find((one) => one.from === range.from && isRelative(range));
  const label = relative
    ? `Last ${relative.label}`
    : isRelative(range)
      ? `Last ${spanText(to - from)}`
      : `${momentText(from, zone)} – ${momentText(to, zone)}`;
  const set = (next: Range) => change({ from: next.from, to: next.to === "now" ? null : next.to });
  return (
    <div className="row tight">
      <Tooltip label="Earlier">
        <ActionIcon aria-label="Earlier" onClick={() => set(pan(range, -0.5, now))}>
          <Icon name="left" />
        </ActionIcon>
      </Tooltip>
      <Popover opened={open} onChange={setOpen} position="bottom-end" trapFocus withinPortal>
        <Popover.Target>
          <Button
            onClick={() => {
              setBegin(inputText(from, zone));
              setEnd(inputText(to, zone));
              setOpen(!open);
            }}
            aria-expanded={open}
          >
            <span className="num">{label}</span>
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <div className="stack" style={{ width: 250 }}>
            <div className="row tight">
              {RANGES.map((one) => (
                <Button
                  key={one.from}
                  size="compact-xs"
                  variant={one === relative ? "filled" : "default"}
                  onClick={() => {
                    set({ from: one.from, to: "now" });
                    setOpen(false);
                  }}
                >
                  {one.label}
                </Button>
              ))}
            </div>
            <TextInput
              type="datetime-local"
              step={1}
              size="xs"
              label={`From (${zone})`}
              value={begin}
              onChange={(event) => setBegin(event.currentTarget.value)}
            />
            <TextInput
              type="datetime-local"
              step={1}
              size="xs"
              label={`To (${zone})`}
              value={end}
              onChange={(event) => setEnd(event.currentTarget.value)}
            />
            <Button
              variant="filled"
              onClick={() => {
                const [a, b] = [inputMoment(begin, zone), inputMoment(end, zone)];
                if (a !== null && b !== null && a < b) {
                  set(absolute(a, b));
                  setOpen(false);
                }
              }}
            >
              Show
            </Button>
          </div>
        </Popover.Dropdown>
      </Popover>
      <Tooltip label="Later">
        <ActionIcon aria-label="Later" disabled={isRelative(range)} onClick={() => set(pan(range, 0.5, now))}>
          <Icon name="right" />
        </ActionIcon>
      </Tooltip>
      <Select
        size="xs"
        w={104}
        aria-label="Refresh"
        data={REFRESHES.map((one) => ({ value: one, label: one === "off" ? "No refresh" : `Every ${one}` }))}
        value={isRelative(range) ? refresh : "off"}
        disabled={!isRelative(range)}
        onChange={(value) => change({ refresh: value })}
      />
      <Tooltip label="Read again">
        <ActionIcon
          aria-label="Read again"
          loading={fetching}
          loaderProps={{ size: 14 }}
          onClick={() => void client.invalidateQueries({ queryKey: ["samples"] })}
        >
          <Icon name="retry" />
        </ActionIcon>
      </Tooltip>
    </div>
  );
}

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

interface Context {
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

function useGraph(counter: Schemas["Counter"], context: Context, enabled: boolean) {
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
    const series = data?.series ?? [];
    const sorted = [...series].sort((a, b) => seriesKey(a).localeCompare(seriesKey(b), "en", { numeric: true }));
    const labels = seriesLabels(sorted);
    const lines = sorted.map((one, index) => ({
      key: seriesKey(one),
      label: labels[index] ?? "",
      points: one.points as unknown as Point[],
    }));
    return { labels, lines, aligned: align(lines, data?.step ?? every) };
  }, [data, every]);
  return { query, shown, every };
}

function GraphCard({ counter, context, big }: { counter: Schemas["Counter"]; context: Context; big?: boolean }) {
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
          {shown.labels.length > 1 && `${shown.labels.length} series`}
          {query.data?.step && ` · ${context.agg} over ${spanText(query.data.step)}`}
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

/** Why a counter has no data, in words. */
function WhyNot({ counter, context }: { counter: string; context: Context }) {
  const query = useQuery(checks({ counter, cluster: context.cluster }));
  const own = (query.data ?? []).filter((check) => !context.node || check.node === context.node);
  const bad = own.filter((check) => !check.ok);
  if (!query.data) {
    return null;
  }
  if (own.length === 0) {
    return <p className="quiet small">It has not been read yet, or is fed by pushed samples alone.</p>;
  }
  if (bad.length === 0) {
    return <p className="quiet small">Its last readings went well; there is just nothing from this time.</p>;
  }
  return (
    <ul className="small">
      {bad.slice(0, 3).map((check) => (
        <li key={check.node}>
          <strong>{check.node}</strong>: {failureText(check.failure?.code ?? "")}.{" "}
          <span className="quiet">{check.failure?.detail}</span>
        </li>
      ))}
    </ul>
  );
}

export function Monitor() {
  const { params, range, refresh, change } = useView();
  const clusters = useQuery(objects("cluster"));
  const nodes = useQuery(objects("node"));
  const counters = useQuery(objects("counter"));
  const triggers = useQuery(objects("trigger")).data ?? [];
  const mayRun = useMay("operator");
  const mayConfigure = useMay("admin");
  const now = useNow(30_000);
  const filter = params.get("filter") ?? "";
  const focus = params.get("counter");
  const asked = params.get("cluster");
  const cluster =
    asked ?? nodes.data?.find((node) => node.name === params.get("node"))?.cluster ?? clusters.data?.[0]?.name ?? "";
  const node = params.get("node");
  const jvm = params.get("jvm");
  const agg = params.get("agg") ?? "avg";
  const { from } = resolve(range, now);
  const past = useQuery(events({}, 500)).data?.items ?? [];
  const recent = useQuery({ ...runs({ cluster }, 200), enabled: cluster !== "" }).data?.items ?? [];
  if (!clusters.data || !nodes.data || !counters.data) {
    return (
      <>
        <Head title="Monitoring" />
        <Wait lines={1} chart />
      </>
    );
  }
  const own = nodes.data.filter((one) => one.cluster === cluster);
  const here = counters.data.filter((one) => one.clusters.includes(cluster) || one.clusters.includes("*"));
  const shown = here.filter((one) => one.name.toLowerCase().includes(filter.toLowerCase()));
  const counter = here.find((one) => one.name === focus);
  const ownNames = new Set(own.map((one) => one.name));
  const context: Context = {
    cluster,
    node,
    jvm,
    range,
    agg,
    refresh: !isRelative(range) || refresh === "off" ? false : (parseSpan(refresh) ?? 10_000),
    triggers,
    events: past,
    runs: recent.filter((run) => Date.parse(run.created) >= from && (!run.node || ownNames.has(run.node))),
    change,
  };
  const jvms = own.find((one) => one.name === node)?.jvms ?? [];
  const place = `cluster=${encodeURIComponent(cluster)}`;
  const crumbs = [
    { to: `/monitor?${place}`, text: cluster || "Monitoring" },
    ...(node && counter ? [{ to: `/monitor?${place}&node=${encodeURIComponent(node)}`, text: node }] : []),
  ];
  const title = counter ? counter.name : (node ?? cluster);
  return (
    <>
      <Head
        title={title || "Monitoring"}
        crumbs={counter || node ? crumbs : []}
        actions={<RangeBar range={range} refresh={refresh} change={change} />}
      />
      <div className="bar">
        <Select
          size="xs"
          w={150}
          aria-label="Cluster"
          searchable
          data={clusters.data.map((one) => one.name)}
          value={cluster}
          onChange={(value) => change({ cluster: value, node: null, jvm: null, counter: null })}
        />
        <Select
          size="xs"
          w={150}
          aria-label="Node"
          searchable
          clearable
          placeholder="All nodes"
          data={own.map((one) => one.name)}
          value={node}
          onChange={(value) => change({ node: value, jvm: null })}
        />
        {jvms.length > 0 && (
          <Select
            size="xs"
            w={130}
            aria-label="JVM"
            clearable
            placeholder="All JVMs"
            data={jvms}
            value={jvm}
            onChange={(value) => change({ jvm: value })}
          />
        )}
        {counter ? (
          <Button onClick={() => change({ counter: null })} leftSection={<Icon name="left" size={14} />}>
            All counters
          </Button>
        ) : (
          <TextInput
            size="xs"
            w={170}
            aria-label="Counters"
            placeholder="Counters named…"
            value={filter}
            onChange={(event) => change({ filter: event.currentTarget.value }, true)}
          />
        )}
        <SegmentedControl
          size="xs"
          aria-label="How samples become one point"
          data={["avg", "min", "max"]}
          value={agg}
          onChange={(value) => change({ agg: value === "avg" ? null : value })}
        />
        {mayRun && cluster && (
          <Button
            component={Link}
            className="push"
            to={node ? `/run?node=${encodeURIComponent(node)}` : `/run?${place}`}
            leftSection={<Icon name="run" size={14} />}
          >
            Run on {node ?? cluster}
          </Button>
        )}
      </div>
      {clusters.data.length === 0 ? (
        <Empty title="There is nothing to see yet.">
          Samples come from counters, collected on the nodes of clusters.{" "}
          {mayConfigure && <Link to="/admin">Set them up</Link>}
        </Empty>
      ) : focus && !counter ? (
        <Empty title={`There is no counter ${focus} on ${cluster}.`}>
          <button type="button" className="linkish" onClick={() => change({ counter: null })}>
            All counters
          </button>
        </Empty>
      ) : counter ? (
        <Focus counter={counter} context={context} />
      ) : shown.length === 0 ? (
        <Empty title={filter ? `No counter is named like “${filter}”.` : `Nothing is measured on ${cluster} yet.`}>
          {!filter && mayConfigure && <Link to="/admin/counters/+new">Define a counter</Link>}
        </Empty>
      ) : (
        <div className="graphs">
          {shown.map((one) => (
            <GraphCard key={one.name} counter={one} context={context} />
          ))}
        </div>
      )}
    </>
  );
}

const ROWS_MAX = 200;

/** One counter: its graph, what it says in numbers, and what its script printed last. */
function Focus({ counter, context }: { counter: Schemas["Counter"]; context: Context }) {
  const { zone } = usePrefs();
  const { params, change } = useView();
  const { shown, query } = useGraph(counter, context, true);
  const tab = params.get("show") ?? "summary";
  const stats = shown.lines.map((line) => {
    const values = line.points.map((point) => point[1]);
    const sum = values.reduce((total, value) => total + value, 0);
    return {
      label: line.label,
      last: values.at(-1),
      at: line.points.at(-1)?.[0],
      min: values.length ? values.reduce((a, b) => Math.min(a, b)) : undefined,
      max: values.length ? values.reduce((a, b) => Math.max(a, b)) : undefined,
      avg: values.length ? sum / values.length : undefined,
      count: values.length,
    };
  });
  const rows = () =>
    shown.aligned.times.map((time, index) => [
      new Date(time * 1000).toISOString(),
      ...shown.aligned.values.map((row) => row[index] ?? null),
    ]);
  const tabs = [
    { key: "summary", text: "Summary" },
    { key: "samples", text: "Samples" },
    { key: "outputs", text: "Last outputs" },
  ];
  return (
    <>
      <GraphCard counter={counter} context={context} big />
      <div className="row nowrap">
        <div className="tabs" style={{ flex: 1 }} role="tablist" aria-label="What is shown of it">
          {tabs.map((one) => (
            <button
              key={one.key}
              type="button"
              role="tab"
              aria-selected={tab === one.key}
              onClick={() => change({ show: one.key === "summary" ? null : one.key }, true)}
            >
              {one.text}
            </button>
          ))}
        </div>
        <Button
          leftSection={<Icon name="download" size={14} />}
          disabled={shown.lines.length === 0}
          onClick={() => download(`${counter.name}.csv`, csv(["time", ...shown.labels], rows()), "text/csv")}
        >
          CSV
        </Button>
      </div>
      {tab === "summary" &&
        (stats.length > 0 ? (
          <Table
            label={`Series of ${counter.name}`}
            items={stats}
            id={(row) => row.label}
            columns={[
              { title: "Series", cell: (row) => row.label },
              { title: "Last", number: true, cell: (row) => valueText(row.last, counter.unit) },
              { title: "Average", number: true, cell: (row) => valueText(row.avg, counter.unit) },
              { title: "Least", number: true, cell: (row) => valueText(row.min, counter.unit) },
              { title: "Most", number: true, cell: (row) => valueText(row.max, counter.unit) },
              { title: "Points", number: true, cell: (row) => row.count },
              { title: "Newest", tight: true, cell: (row) => <When at={row.at} /> },
            ]}
          />
        ) : (
          query.data && <WhyNot counter={counter.name} context={context} />
        ))}
      {tab === "samples" && (
        <div className="card scroll" style={{ maxHeight: 520 }}>
          <table className="t" aria-label={`Samples of ${counter.name}`}>
            <thead>
              <tr>
                <th scope="col">Time</th>
                {shown.labels.map((label) => (
                  <th key={label} scope="col" className="n">
                    {label}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.aligned.times
                .slice(-ROWS_MAX)
                .reverse()
                .map((time, back) => {
                  const index = shown.aligned.times.length - 1 - back;
                  return (
                    <tr key={time}>
                      <td className="num tight">{momentText(time * 1000, zone)}</td>
                      {shown.labels.map((label, row) => (
                        <td key={label} className="n">
                          {shown.aligned.values[row]?.[index] === undefined
                            ? ""
                            : valueText(shown.aligned.values[row]?.[index], counter.unit)}
                        </td>
                      ))}
                    </tr>
                  );
                })}
            </tbody>
          </table>
        </div>
      )}
      {tab === "samples" && shown.aligned.times.length > ROWS_MAX && (
        <p className="quiet small">
          The newest {ROWS_MAX} of {shown.aligned.times.length}; the CSV has all.
        </p>
      )}
      {tab === "outputs" && <CounterOutputs counter={counter.name} context={context} />}
    </>
  );
}

function CounterOutputs({ counter, context }: { counter: string; context: Context }) {
  const query = useQuery(checks({ counter, cluster: context.cluster }));
  return (
    <Loaded query={query}>
      {(items) => <CheckList items={items.filter((check) => !context.node || check.node === context.node)} />}
    </Loaded>
  );
}

function CheckList({ items, search = "" }: { items: Schemas["Check"][]; search?: string }) {
  if (items.length === 0) {
    return <Empty title={search ? `Nothing that was printed last contains “${search}”.` : "No script has run yet."} />;
  }
  return (
    <Table
      label="Last outputs"
      items={items.slice(0, 300)}
      id={(check) => `${check.node}/${check.counter}`}
      columns={[
        {
          title: "Node and counter",
          tight: true,
          cell: (check) => (
            <Link
              to={`/monitor?node=${encodeURIComponent(check.node)}&counter=${encodeURIComponent(check.counter)}&show=outputs`}
            >
              {check.node} <span className="quiet">{check.counter}</span>
            </Link>
          ),
        },
        {
          title: "How it went",
          cell: (check) => (
            <>
              <Badge
                bare
                state={check.ok ? "succeeded" : "failed"}
                text={check.ok ? "fine" : failureText(check.failure?.code ?? "")}
              />
              {!check.ok && <div className="desc">{check.failure?.detail}</div>}
              {check.warning && <div className="desc">{check.warning}</div>}
              {check.failures_in_row > 0 && (
                <div className="desc">
                  {plural(check.failures_in_row, "failure")} in a row, {check.failures_total} in all
                </div>
              )}
            </>
          ),
        },
        {
          title: "It printed",
          cell: (check) =>
            check.output ? (
              <>
                {check.output.stdout && (
                  <pre className="block" tabIndex={0}>
                    <Found text={check.output.stdout} search={search} />
                  </pre>
                )}
                {check.output.stderr && (
                  <pre className="block" tabIndex={0} style={{ color: "var(--firing)", marginTop: 4 }}>
                    <Found text={check.output.stderr} search={search} />
                  </pre>
                )}
                {!check.output.stdout && !check.output.stderr && <span className="quiet">nothing</span>}
              </>
            ) : (
              <span className="quiet">nothing is kept</span>
            ),
        },
        { title: "Exit", number: true, cell: (check) => check.output?.exit_code ?? "–" },
        { title: "Took", number: true, cell: (check) => (check.output ? `${check.output.duration_ms} ms` : "–") },
        { title: "When", tight: true, cell: (check) => <When at={check.output?.at ?? check.last} /> },
      ]}
    />
  );
}

/** Text with what was looked for marked in it. */
function Found({ text, search }: { text: string; search: string }) {
  if (!search) {
    return text;
  }
  const parts: ReactNode[] = [];
  const lower = text.toLowerCase();
  let at = 0;
  for (;;) {
    const next = lower.indexOf(search.toLowerCase(), at);
    if (next < 0 || parts.length > 200) {
      break;
    }
    parts.push(text.slice(at, next), <mark key={next}>{text.slice(next, next + search.length)}</mark>);
    at = next + search.length;
  }
  parts.push(text.slice(at));
  return parts;
}

/** What every script printed last, to be searched. */
export function Outputs() {
  const { params, change } = useView();
  const search = params.get("search") ?? "";
  const failing = params.get("failing") === "true";
  const cluster = params.get("cluster");
  const [typed, setTyped] = useState(search);
  const clusters = useQuery(objects("cluster")).data ?? [];
  useEffect(() => setTyped(search), [search]);
  useEffect(() => {
    const timer = setTimeout(() => {
      if (typed !== search) {
        change({ search: typed }, true);
      }
    }, 300);
    return () => clearTimeout(timer);
  }, [typed, search, change]);
  const query = useQuery(
    checks({
      ...(search ? { search } : {}),
      ...(failing ? { failing: "true" } : {}),
      ...(cluster ? { cluster } : {}),
    }),
  );
  return (
    <>
      <Head title="Outputs" />
      <div className="bar">
        <TextInput
          size="xs"
          w={280}
          aria-label="Search in outputs"
          placeholder="Search in what scripts printed last…"
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
        />
        <Select
          size="xs"
          w={150}
          aria-label="Cluster"
          clearable
          placeholder="All clusters"
          data={clusters.map((one) => one.name)}
          value={cluster}
          onChange={(value) => change({ cluster: value })}
        />
        <SegmentedControl
          size="xs"
          aria-label="Which"
          data={[
            { value: "all", label: "All" },
            { value: "failing", label: "Failing" },
          ]}
          value={failing ? "failing" : "all"}
          onChange={(value) => change({ failing: value === "failing" ? "true" : null })}
        />
        {query.data && <span className="quiet small push">{plural(query.data.length, "check")}</span>}
      </div>
      <Section title={<span className="sr">Last outputs</span>}>
        <Loaded query={query} lines={8}>
          {(items) =>
            failing && items.length === 0 ? (
              <Empty title="Every script's last run went well." />
            ) : (
              <CheckList items={items} search={search} />
            )
          }
        </Loaded>
      </Section>
    </>
  );
}
