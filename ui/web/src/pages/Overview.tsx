import { Button } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Schemas } from "../api/client";
import { checks, events, objects, peers, runs, samples, triggerState } from "../api/queries";
import { useMay } from "../api/session";
import { Icon } from "../components/Icon";
import { Table } from "../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, Trouble, toneOf, Wait, When, Words } from "../components/parts";
import { causeText, stepText, tasksOf } from "../lib/runs";
import { sparkline } from "../lib/series";
import { parseSpan } from "../lib/time";
import { conditionText } from "../lib/triggers";
import { countText, plural, valueText } from "../lib/value";

type Trigger = Schemas["Trigger"];
type TriggerState = Schemas["TriggerState"];

/** The worst that a node has: a firing trigger, a check that fails, or nothing. */
function nodeTones(states: TriggerState[], failing: Schemas["Check"][]): Map<string, { tone: string; why: string }> {
  const tones = new Map<string, { tone: string; why: string }>();
  for (const check of failing) {
    tones.set(check.node, { tone: "pending", why: `${check.counter}: ${check.failure?.detail ?? "no data"}` });
  }
  for (const state of states) {
    for (const subject of state.subjects) {
      if (subject.node && (subject.state === "pending" || subject.state === "firing")) {
        const before = tones.get(subject.node);
        if (before?.tone !== "firing") {
          tones.set(subject.node, { tone: subject.state, why: `${state.trigger} is ${subject.state}` });
        }
      }
    }
  }
  return tones;
}

/** What stands for a cluster's load: a counter of that name or unit, or what its first trigger watches. */
function mainCounter(cluster: string, counters: Schemas["Counter"][], triggers: Trigger[]) {
  const own = counters.filter((one) => one.clusters.includes(cluster) || one.clusters.includes("*"));
  const watched = triggers.find((one) => one.cluster === cluster)?.when[0]?.counter;
  return own.find((one) => one.unit === "load") ?? own.find((one) => one.name === watched) ?? own[0];
}

function Load({ cluster, counter }: { cluster: string; counter: Schemas["Counter"] | undefined }) {
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

export function Overview() {
  const clusters = useQuery(objects("cluster"));
  const nodes = useQuery(objects("node"));
  const counters = useQuery(objects("counter")).data ?? [];
  const triggers = useQuery(objects("trigger")).data ?? [];
  const failing = useQuery(checks({ failing: "true" })).data ?? [];
  const going = useQuery(runs({ state: "running" })).data?.items ?? [];
  const plane = useQuery(peers);
  const feed = useQuery(events({}, 40));
  const mayRun = useMay("operator");
  const mayConfigure = useMay("admin");
  const stateQueries = useQueries({ queries: triggers.map((one) => triggerState(one.name)) });
  const states = stateQueries.map((query) => query.data).filter((state) => state !== undefined);
  const tones = nodeTones(states, failing);
  const busy = states.filter((state) => state.state === "firing" || state.state === "pending");
  const units = Object.fromEntries(counters.map((one) => [one.name, one.unit ?? ""]));

  if (clusters.isError) {
    return <Trouble error={clusters.error} again={() => void clusters.refetch()} />;
  }
  if (!clusters.data || !nodes.data) {
    return (
      <>
        <Head title="Overview" />
        <Wait lines={6} />
      </>
    );
  }
  const firing = busy.filter((state) => state.state === "firing");
  const alive = plane.data?.filter((peer) => peer.alive) ?? [];
  const silent = (plane.data?.length ?? 0) - alive.length;
  const leader = plane.data?.find((peer) => peer.role === "leader" && peer.alive);
  const unwell = new Set(failing.map((check) => check.node)).size;

  return (
    <>
      <Head
        title="Overview"
        actions={
          mayRun &&
          nodes.data.length > 0 && (
            <Button component={Link} to="/run" leftSection={<Icon name="run" size={14} />}>
              Run a command
            </Button>
          )
        }
      />
      <p className="lede">
        {firing.length > 0 ? (
          <>
            {firing.slice(0, 3).map((state, index) => (
              <span key={state.trigger}>
                {index > 0 && ", "}
                <Link to={`/triggers/${state.trigger}`} style={{ color: "var(--firing)" }}>
                  {state.trigger}
                </Link>
              </span>
            ))}{" "}
            {firing.length === 1 ? "is" : "are"} firing.{" "}
          </>
        ) : nodes.data.length === 0 ? (
          "Nothing is watched yet. "
        ) : unwell > 0 ? (
          "No trigger is firing. "
        ) : (
          "All is quiet. "
        )}
        <span className="quiet">
          {plural(nodes.data.length, "node")} in {plural(clusters.data.length, "cluster")}
          {unwell > 0 && (
            <>
              , <Link to="/outputs?failing=true">{unwell} with failing checks</Link>
            </>
          )}
          {plane.data &&
            (silent > 0
              ? `; ${plural(silent, "peer")} of ${plane.data.length} ${silent === 1 ? "is" : "are"} silent`
              : `; all ${plane.data.length} peers answer`)}
          {leader && `, ${leader.name} leads`}.
        </span>
      </p>

      <Section
        title="Clusters"
        more={
          mayConfigure && (
            <Link className="more" to="/admin/clusters">
              Manage
            </Link>
          )
        }
      >
        {clusters.data.length === 0 ? (
          <Empty title="No clusters yet.">
            A cluster is a named group of hosts that do the same work.{" "}
            {mayConfigure ? <Link to="/admin/clusters/+new">Make the first one</Link> : "An admin can make one."}
          </Empty>
        ) : (
          <div className="card">
            {clusters.data.map((cluster) => {
              const own = nodes.data.filter((node) => node.cluster === cluster.name);
              const watching = triggers.filter((one) => one.cluster === cluster.name);
              const loud = busy.filter((state) => watching.some((one) => one.name === state.trigger));
              const active = going.filter(
                (run) => run.cluster === cluster.name || own.some((node) => node.name === run.node),
              );
              return (
                <div className="cluster" key={cluster.name}>
                  <div>
                    <h3>
                      <Link to={`/monitor?cluster=${encodeURIComponent(cluster.name)}`}>{cluster.name}</Link>
                    </h3>
                    <span className="quiet small">{plural(own.length, "node")}</span>
                  </div>
                  <div className="strip" role="list" aria-label={`Nodes of ${cluster.name}`}>
                    {own.slice(0, 160).map((node) => {
                      const tone = tones.get(node.name);
                      return (
                        <span role="listitem" key={node.name}>
                          <Link
                            to={`/monitor?cluster=${encodeURIComponent(cluster.name)}&node=${encodeURIComponent(node.name)}`}
                            className={`tone-${tone?.tone ?? "ok"}`}
                            title={`${node.name}: ${tone?.why ?? "well"}`}
                            aria-label={`${node.name}: ${tone?.why ?? "well"}`}
                          />
                        </span>
                      );
                    })}
                    {own.length > 160 && <span className="quiet small">and {own.length - 160} more</span>}
                  </div>
                  <Load cluster={cluster.name} counter={mainCounter(cluster.name, counters, triggers)} />
                  <div className="row tight">
                    {loud.map((state) => (
                      <Link key={state.trigger} to={`/triggers/${state.trigger}`}>
                        <Badge state={state.state} text={state.trigger} />
                      </Link>
                    ))}
                    {loud.length === 0 && watching.length > 0 && (
                      <span className="quiet small">{plural(watching.length, "trigger")}, quiet</span>
                    )}
                    {active.length > 0 && <Badge state="running" text={plural(active.length, "run")} />}
                  </div>
                </div>
              );
            })}
          </div>
        )}
      </Section>

      {busy.length > 0 && (
        <Section
          title="Triggers"
          more={
            <Link className="more" to="/triggers">
              All triggers
            </Link>
          }
        >
          <Table
            label="Pending and firing triggers"
            items={busy}
            id={(state) => state.trigger}
            columns={[
              { title: "Trigger", cell: (state) => <Link to={`/triggers/${state.trigger}`}>{state.trigger}</Link> },
              { title: "State", tight: true, cell: (state) => <Badge state={state.state} /> },
              {
                title: "Condition",
                cell: (state) => {
                  const trigger = triggers.find((one) => one.name === state.trigger);
                  return trigger ? <span className="quiet">{conditionText(trigger, units)}</span> : null;
                },
              },
              {
                title: "On",
                cell: (state) =>
                  state.subjects
                    .filter((subject) => subject.state === state.state)
                    .slice(0, 4)
                    .map(
                      (subject) =>
                        `${subject.node ?? "the cluster"} ${valueText(subject.value, units[subject.counter ?? ""])}`,
                    )
                    .join(", "),
              },
              { title: "Since", tight: true, cell: (state) => <When at={state.since} /> },
            ]}
          />
        </Section>
      )}

      <div className="columns">
        <div className="stack" style={{ gap: 22 }}>
          {going.length > 0 && (
            <Section
              title="Going on"
              more={
                <Link className="more" to="/runs">
                  All runs
                </Link>
              }
            >
              <div className="card">
                {going.slice(0, 8).map((run) => {
                  const { total, ended } = tasksOf(run);
                  return (
                    <div key={run.id} className="pad row" style={{ paddingBlock: 9 }}>
                      <Link to={`/runs/${run.id}`} className="num" style={{ fontWeight: 500 }}>
                        #{run.id}
                      </Link>
                      <span>{stepText(run)}</span>
                      <span className="quiet">{run.node ?? run.cluster}</span>
                      <span className="push row nowrap" style={{ width: 160 }}>
                        <Meter part={total ? ended / total : 0} label={`${ended} of ${total} tasks have ended`} />
                        <span className="num small quiet">
                          {ended}/{total}
                        </span>
                      </span>
                    </div>
                  );
                })}
              </div>
            </Section>
          )}
          <Section
            title="Control plane"
            more={
              <Link className="more" to="/peers">
                Peers
              </Link>
            }
          >
            <Loaded query={plane}>
              {(all) => (
                <Table
                  label="Peers"
                  items={all}
                  id={(peer) => peer.id}
                  columns={[
                    {
                      title: "Peer",
                      cell: (peer) => (
                        <span className="row tight">
                          <span className={`dot tone-${peer.alive ? "ok" : "firing"}`} />
                          <Link to="/peers">{peer.name}</Link>
                          {!peer.alive && <span className="small">silent</span>}
                        </span>
                      ),
                    },
                    { title: "Role", cell: (peer) => <Badge state={peer.role} bare /> },
                    { title: "Nodes", number: true, cell: (peer) => peer.nodes },
                    { title: "Tasks", number: true, cell: (peer) => peer.tasks },
                    {
                      title: "Behind by",
                      number: true,
                      cell: (peer) => (peer.lag === null || peer.lag === undefined ? "–" : countText(peer.lag)),
                    },
                  ]}
                />
              )}
            </Loaded>
          </Section>
          {going.length === 0 && <LastRuns />}
        </div>
        <Section
          title="Lately"
          more={
            <Link className="more" to="/events">
              All events
            </Link>
          }
        >
          <Loaded query={feed} lines={8}>
            {({ items }) => <Feed items={items.filter((event) => !isLogin(event)).slice(0, 14)} />}
          </Loaded>
        </Section>
      </div>
    </>
  );
}

function LastRuns() {
  const query = useQuery(runs({}, 6));
  if (!query.data || query.data.items.length === 0) {
    return null;
  }
  return (
    <Section
      title="Last runs"
      more={
        <Link className="more" to="/runs">
          All runs
        </Link>
      }
    >
      <Table
        label="Last runs"
        items={query.data.items}
        id={(run) => run.id}
        columns={[
          {
            title: "Run",
            cell: (run) => (
              <Link to={`/runs/${run.id}`}>
                <span className="quiet num">#{run.id}</span> {stepText(run)}
              </Link>
            ),
          },
          { title: "State", tight: true, cell: (run) => <Badge state={run.state} /> },
          { title: "Where", cell: (run) => run.node ?? run.cluster ?? "–" },
          { title: "Because of", cell: (run) => <span className="quiet">{causeText(run.cause)}</span> },
          { title: "Began", tight: true, cell: (run) => <When at={run.created} /> },
        ]}
      />
    </Section>
  );
}

/** Somebody who logs in or out is no news. */
function isLogin(event: Schemas["Event"]): boolean {
  return event.object === "token" && (event.name?.startsWith("login-") ?? false);
}

/** What happened, newest first. */
export function Feed({ items }: { items: Schemas["Event"][] }) {
  if (items.length === 0) {
    return <Empty title="Nothing has happened yet." />;
  }
  return (
    <ul className="feed">
      {items.map((event) => (
        <li key={event.id}>
          <When at={event.at} />
          <p>
            <span className={`dot tone-${eventTone(event)}`} style={{ marginRight: 7 }} />
            {event.run ? (
              <Link to={`/runs/${event.run}`}>
                <Words text={event.message} />
              </Link>
            ) : (
              <Words text={event.message} />
            )}
            {/^(user|token)\//.test(event.actor) && <span className="quiet"> · {event.actor.split("/").pop()}</span>}
          </p>
        </li>
      ))}
    </ul>
  );
}

export function eventTone(event: Schemas["Event"]): string {
  if (event.type === "trigger-fired" || event.type === "task-lost" || event.type === "peer-removed") {
    return "firing";
  }
  if (event.type === "trigger-recovered") {
    return "ok";
  }
  if (event.type === "run-finished") {
    return /succe/.test(event.message) ? "ok" : toneOf(/cancel/.test(event.message) ? "cancelled" : "failed");
  }
  return event.type.startsWith("run-") ? "busy" : "idle";
}
