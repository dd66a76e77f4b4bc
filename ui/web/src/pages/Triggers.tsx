import { Button, Modal, SegmentedControl, Select, TextInput } from "@mantine/core";
import { useMutation, useQueries, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { api, must, type Schemas } from "../api/client";
import { events, objects, samples, triggerState } from "../api/queries";
import { useMay } from "../api/session";
import { useNow } from "../app/prefs";
import { say, sayProblem } from "../app/toast";
import { Graph } from "../components/Graph";
import { Icon } from "../components/Icon";
import { Table } from "../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, Trouble, When } from "../components/parts";
import { absolute, type Range, resolve } from "../lib/range";
import { align, type Point, seriesKey, seriesLabels } from "../lib/series";
import { parseSpan, spanText } from "../lib/time";
import { bandsOf, conditionText } from "../lib/triggers";
import { countText, plural, valueText } from "../lib/value";
import { Feed } from "./Overview";

type Trigger = Schemas["Trigger"];
type Subject = Schemas["TriggerSubject"];

/** What a trigger's graph shows at first. */
const START: Range = { from: "-15m", to: "now" };

const WORST = ["firing", "recovering", "pending", "ok"];

function heldPart(trigger: Trigger, subject: Subject): number {
  const whole = parseSpan(trigger.for ?? "0s") ?? 0;
  return whole > 0 ? Math.min(1, (parseSpan(subject.held) ?? 0) / whole) : subject.state === "ok" ? 0 : 1;
}

function unitsOf(counters: Schemas["Counter"][]): Record<string, string> {
  return Object.fromEntries(counters.map((one) => [one.name, one.unit ?? ""]));
}

export function Triggers() {
  const query = useQuery(objects("trigger"));
  const units = unitsOf(useQuery(objects("counter")).data ?? []);
  const windows = useQuery(objects("maintenance-window")).data ?? [];
  const mayConfigure = useMay("admin");
  const triggers = query.data ?? [];
  const states = useQueries({ queries: triggers.map((one) => triggerState(one.name)) });
  const now = useNow(30_000);
  const rows = triggers
    .map((trigger, index) => ({ trigger, state: states[index]?.data }))
    .sort((a, b) => WORST.indexOf(a.state?.state ?? "ok") - WORST.indexOf(b.state?.state ?? "ok"));
  const quiet = windows.filter((one) => Date.parse(one.to) > now);
  return (
    <>
      <Head
        title="Triggers"
        actions={
          mayConfigure && (
            <Button component={Link} to="/admin/triggers/+new" leftSection={<Icon name="plus" size={14} />}>
              New trigger
            </Button>
          )
        }
      />
      <Loaded query={query}>
        {(all) =>
          all.length === 0 ? (
            <Empty title="There are no triggers yet.">
              A trigger waits until a counter has been beyond a threshold for a time, and then runs its steps.{" "}
              {mayConfigure && <Link to="/admin/triggers/+new">Make the first one</Link>}
            </Empty>
          ) : (
            <Table
              label="Triggers"
              items={rows}
              id={({ trigger }) => trigger.name}
              columns={[
                {
                  title: "Trigger",
                  cell: ({ trigger }) => (
                    <>
                      <Link to={`/triggers/${trigger.name}`}>{trigger.name}</Link>
                      {trigger.description && <div className="desc">{trigger.description}</div>}
                    </>
                  ),
                },
                {
                  title: "State",
                  tight: true,
                  cell: ({ trigger, state }) => (
                    <Badge state={trigger.enabled === false ? "disabled" : (state?.state ?? "ok")} />
                  ),
                },
                { title: "Cluster", cell: ({ trigger }) => trigger.cluster },
                {
                  title: "Fires when",
                  cell: ({ trigger }) => <span className="mono">{conditionText(trigger, units)}</span>,
                },
                {
                  title: "Nearest to it",
                  cell: ({ trigger, state }) => {
                    const worst = state?.subjects[0];
                    return worst ? (
                      <span className="num">
                        {worst.node ?? "the cluster"} {valueText(worst.value, units[worst.counter ?? ""])}
                        {worst.state === "pending" && (
                          <span style={{ display: "block", maxWidth: 140 }}>
                            <Meter
                              part={heldPart(trigger, worst)}
                              tone="pending"
                              label="How much of its time has passed"
                            />
                          </span>
                        )}
                      </span>
                    ) : null;
                  },
                },
                { title: "Since", tight: true, cell: ({ state }) => (state?.since ? <When at={state.since} /> : null) },
                {
                  title: "Last fired",
                  tight: true,
                  cell: ({ state }) => {
                    const last = [...(state?.firings ?? [])].sort((a, b) =>
                      (b.fired ?? "").localeCompare(a.fired ?? ""),
                    )[0];
                    return last?.fired ? (
                      last.run ? (
                        <Link to={`/runs/${last.run}`}>
                          <When at={last.fired} />
                        </Link>
                      ) : (
                        <When at={last.fired} />
                      )
                    ) : (
                      <span className="quiet">never</span>
                    );
                  },
                },
              ]}
            />
          )
        }
      </Loaded>
      {quiet.length > 0 && (
        <Section title="Maintenance">
          <Table
            label="Maintenance windows"
            items={quiet}
            id={(one) => one.name}
            columns={[
              { title: "Window", cell: (one) => <Link to={`/admin/maintenance-windows/${one.name}`}>{one.name}</Link> },
              { title: "Keeps still", cell: (one) => one.node ?? one.cluster },
              { title: "From", cell: (one) => <When at={one.from} as="moment" /> },
              { title: "To", cell: (one) => <When at={one.to} as="moment" /> },
              { title: "Why", cell: (one) => one.reason },
            ]}
          />
        </Section>
      )}
    </>
  );
}

/** What a trigger watches, with its firings drawn on it. */
function TriggerGraph({
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

function Execute({ trigger, nodes }: { trigger: Trigger; nodes: string[] }) {
  const [open, setOpen] = useState(false);
  const needsNode = trigger.steps.some((step) => step.target === "firing-node");
  const [node, setNode] = useState<string | null>(nodes[0] ?? null);
  const navigate = useNavigate();
  const execute = useMutation({
    mutationFn: () =>
      must(
        api.POST("/api/v1/triggers/{name}/execute", {
          params: {
            path: { name: trigger.name },
            header: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) },
          },
          body: { node: needsNode ? node : null },
        }),
      ),
    onSuccess: ({ run }) => void navigate(`/runs/${run}`),
    onError: sayProblem,
  });
  return (
    <>
      <Button leftSection={<Icon name="run" size={14} />} onClick={() => setOpen(true)}>
        Execute
      </Button>
      <Modal opened={open} onClose={() => setOpen(false)} title={`Execute ${trigger.name}`} size="sm">
        <div className="stack">
          <p>
            Its steps run now, whatever its condition, its cooldown and maintenance say:{" "}
            {trigger.steps.map((step) => step.action).join(", ")}.
          </p>
          {needsNode && <Select label="On the node" searchable data={nodes} value={node} onChange={setNode} />}
          <Button variant="filled" loading={execute.isPending} onClick={() => execute.mutate()}>
            Execute
          </Button>
        </div>
      </Modal>
    </>
  );
}

const SILENCES = ["15m", "1h", "4h", "24h"];

function Silence({ trigger }: { trigger: Trigger }) {
  const [open, setOpen] = useState(false);
  const [span, setSpan] = useState("1h");
  const [reason, setReason] = useState("");
  const make = useMutation({
    mutationFn: async () => {
      const from = Date.now();
      const to = from + (parseSpan(span) ?? 0);
      const name = `${trigger.cluster}-${new Date(from)
        .toISOString()
        .slice(0, 19)
        .replace(/[^0-9]/g, "")}`;
      await must(
        api.POST("/api/v1/maintenance-windows", {
          params: {},
          body: {
            name,
            cluster: trigger.cluster,
            from: new Date(from).toISOString(),
            to: new Date(to).toISOString(),
            reason: reason || "work on hosts",
          },
        }),
      );
    },
    onSuccess: () => {
      setOpen(false);
      say(`Triggers of ${trigger.cluster} keep still for ${spanText(parseSpan(span) ?? 0)}.`);
    },
    onError: sayProblem,
  });
  return (
    <>
      <Button onClick={() => setOpen(true)}>Maintenance</Button>
      <Modal opened={open} onClose={() => setOpen(false)} title={`Maintenance of ${trigger.cluster}`} size="sm">
        <div className="stack">
          <p>All triggers of the cluster keep still from now on, for</p>
          <SegmentedControl data={SILENCES} value={span} onChange={setSpan} aria-label="How long" />
          <TextInput
            label="Why"
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
            placeholder="upgrade of the kernel"
          />
          <Button variant="filled" loading={make.isPending} onClick={() => make.mutate()}>
            Begin
          </Button>
        </div>
      </Modal>
    </>
  );
}

export function TriggerPage() {
  const { name = "" } = useParams();
  const query = useQuery(objects("trigger"));
  const trigger = query.data?.find((one) => one.name === name);
  if (query.data && !trigger) {
    return (
      <>
        <Head title={name} crumbs={[{ to: "/triggers", text: "Triggers" }]} />
        <Empty title="There is no such trigger.">
          <Link to="/triggers">All triggers</Link>
        </Empty>
      </>
    );
  }
  return trigger ? <One trigger={trigger} /> : <Loaded query={query}>{() => null}</Loaded>;
}

function One({ trigger }: { trigger: Trigger }) {
  const state = useQuery(triggerState(trigger.name));
  const units = unitsOf(useQuery(objects("counter")).data ?? []);
  const nodes = useQuery(objects("node")).data?.filter((node) => node.cluster === trigger.cluster) ?? [];
  const history = useQuery(events({ name: trigger.name }, 30));
  const mayRun = useMay("operator");
  const mayConfigure = useMay("admin");
  const [range, setRange] = useState<Range>(START);
  const shown = trigger.enabled === false ? "disabled" : (state.data?.state ?? "ok");
  const held = state.data?.firings.filter((firing) => firing.held_back || firing.refused) ?? [];
  return (
    <>
      <Head
        title={trigger.name}
        crumbs={[{ to: "/triggers", text: "Triggers" }]}
        actions={
          <>
            {mayRun && <Execute trigger={trigger} nodes={nodes.map((node) => node.name)} />}
            {mayConfigure && <Silence trigger={trigger} />}
            {mayConfigure && (
              <Button component={Link} to={`/admin/triggers/${trigger.name}`}>
                Edit
              </Button>
            )}
          </>
        }
      >
        <Badge state={shown} />
      </Head>
      <dl className="facts">
        <dt>Fires when</dt>
        <dd>
          <span className="mono">{conditionText(trigger, units)}</span> on {trigger.cluster}
          {trigger.per === "node" ? ", each node by itself" : ""}
        </dd>
        <dt>Then</dt>
        <dd>
          {trigger.steps.map((step, index) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: steps are known by their place
            <span key={index}>
              {index > 0 && ", then "}
              <Link className="link" to={`/admin/actions/${step.action}`}>
                {step.action}
              </Link>
              {step.target && (
                <span className="quiet"> on {typeof step.target === "string" ? step.target : step.target.node}</span>
              )}
            </span>
          ))}
        </dd>
        <dt>Cooldown</dt>
        <dd>{spanText(parseSpan(trigger.cooldown ?? "0s") ?? 0)}</dd>
        {trigger.description && (
          <>
            <dt>About</dt>
            <dd>{trigger.description}</dd>
          </>
        )}
      </dl>
      {held.map((firing) => (
        <p key={firing.node ?? ""} className="small">
          <Badge state="pending" bare text={firing.node ?? trigger.cluster} />{" "}
          {firing.held_back
            ? `would fire and is held back by ${firing.held_back}`
            : `no run followed: ${firing.refused}`}
          {firing.cooldown_until && (
            <>
              , until <When at={firing.cooldown_until} as="clock" />
            </>
          )}
        </p>
      ))}
      <div className="card graph">
        <TriggerGraph
          trigger={trigger}
          range={range}
          onZoom={(from, to) => setRange(absolute(from, to))}
          onReset={() => setRange(START)}
        />
      </div>
      <div className="columns">
        <Section title="Now">
          <Loaded query={state}>
            {(data) =>
              data.subjects.length === 0 ? (
                <Empty
                  title={data.enabled ? "There are no samples to judge yet." : "It is disabled, and keeps no state."}
                />
              ) : (
                <>
                  <Table
                    label="State by series"
                    items={data.subjects.slice(0, 200)}
                    id={(one) =>
                      `${one.node}/${one.counter}/${one.jvm}/${one.instance}/${one.condition}/${one.no_data}`
                    }
                    columns={[
                      {
                        title: "Series",
                        cell: (one) => (
                          <>
                            {one.node ? (
                              <Link
                                to={`/monitor?node=${encodeURIComponent(one.node)}&counter=${encodeURIComponent(one.counter ?? "")}`}
                              >
                                {one.node}
                              </Link>
                            ) : (
                              trigger.cluster
                            )}
                            {one.instance && <div className="desc mono">{one.instance}</div>}
                            {one.no_data && <div className="desc">missing samples</div>}
                          </>
                        ),
                      },
                      { title: "State", tight: true, cell: (one) => <Badge bare state={one.state} /> },
                      { title: "Value", number: true, cell: (one) => valueText(one.value, units[one.counter ?? ""]) },
                      {
                        title: `Held of ${spanText(parseSpan(trigger.for ?? "0s") ?? 0)}`,
                        cell: (one) =>
                          one.state === "ok" ? null : (
                            <Meter
                              part={heldPart(trigger, one)}
                              tone={one.state === "firing" || one.state === "recovering" ? one.state : "pending"}
                              label={`It has held for ${one.held}`}
                            />
                          ),
                      },
                      { title: "Since", tight: true, cell: (one) => (one.since ? <When at={one.since} /> : null) },
                      { title: "Sample", tight: true, cell: (one) => <When at={one.at} /> },
                    ]}
                  />
                  {data.more > 0 && <p className="quiet small">and {countText(data.more)} more, all of them calmer</p>}
                </>
              )
            }
          </Loaded>
        </Section>
        <Section
          title="History"
          more={
            <Link className="more" to={`/events?name=${trigger.name}`}>
              All
            </Link>
          }
        >
          <Loaded query={history}>{({ items }) => <Feed items={items} />}</Loaded>
        </Section>
      </div>
      <Test trigger={trigger} />
    </>
  );
}

const SINCE = ["1h", "6h", "24h", "7d"];

/** When the trigger would have fired, by the samples that are kept. */
function Test({ trigger }: { trigger: Trigger }) {
  const [since, setSince] = useState("1h");
  const first = trigger.when[0];
  const [threshold, setThreshold] = useState(String(first?.threshold ?? ""));
  const [hold, setHold] = useState(trigger.for ?? "0s");
  const tried = useMemo<Trigger>(() => {
    const value = Number(threshold);
    return {
      ...trigger,
      for: hold,
      when: trigger.when.map((one, index) =>
        index === 0 && threshold !== "" && Number.isFinite(value) ? { ...one, threshold: value } : one,
      ),
    };
  }, [trigger, threshold, hold]);
  const test = useMutation({
    mutationFn: () => {
      const { version: _v, created: _c, updated: _u, ...document } = tried;
      return must(
        api.POST("/api/v1/triggers/{name}/test", {
          params: { path: { name: trigger.name } },
          body: { since, trigger: document as unknown as Record<string, never> },
        }),
      );
    },
  });
  const result = test.data;
  return (
    <Section title="Test against the past">
      <div className="stack">
        <div className="bar">
          <Select
            size="xs"
            w={110}
            label="The last"
            data={SINCE}
            value={since}
            onChange={(value) => setSince(value ?? "1h")}
          />
          <TextInput
            size="xs"
            w={120}
            label={`${first?.counter} ${first?.op}`}
            value={threshold}
            inputMode="decimal"
            onChange={(event) => setThreshold(event.currentTarget.value)}
          />
          <TextInput
            size="xs"
            w={90}
            label="for"
            value={hold}
            onChange={(event) => setHold(event.currentTarget.value)}
          />
          <Button variant="filled" size="xs" loading={test.isPending} onClick={() => test.mutate()}>
            Test
          </Button>
          <span className="quiet small">Changes nothing, runs nothing.</span>
        </div>
        {test.isError && <Trouble error={test.error} />}
        {result && (
          <>
            <p>
              <strong>
                {result.firings.length === 0
                  ? "It would not have fired"
                  : `It would have fired ${plural(result.firings.length, "time")}${result.truncated ? " and more" : ""}`}
              </strong>{" "}
              <span className="quiet">by {countText(result.samples)} samples.</span>
            </p>
            <div className="card graph">
              <TriggerGraph
                trigger={tried}
                range={absolute(Date.parse(result.from), Date.parse(result.to))}
                firings={result.firings}
              />
            </div>
            {result.firings.length > 0 && (
              <Table
                label="Firings that would have been"
                items={result.firings}
                id={(one) => `${one.at}/${one.node}`}
                columns={[
                  { title: "At", tight: true, cell: (one) => <When at={one.at} as="moment" /> },
                  { title: "Node", cell: (one) => one.node ?? trigger.cluster },
                  {
                    title: "It saw",
                    cell: (one) =>
                      one.evidence
                        .slice(0, 3)
                        .map((seen) => `${seen.counter} ${valueText(seen.value)} on ${seen.node}`)
                        .join(", "),
                  },
                  {
                    title: "Recovered",
                    tight: true,
                    cell: (one) => (one.recovered ? <When at={one.recovered} as="moment" /> : "not yet"),
                  },
                ]}
              />
            )}
          </>
        )}
      </div>
    </Section>
  );
}
