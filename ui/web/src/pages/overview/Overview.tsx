import { Button } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { checks, events, objects, peers, runs, triggerState } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, Trouble, Wait, When } from "../../components/parts";
import { stepText, tasksOf } from "../../lib/runs";
import { conditionText } from "../../lib/triggers";
import { countText, plural, valueText } from "../../lib/value";
import { Feed, isLogin } from "./Feed";
import { LastRuns } from "./LastRuns";
import { Load } from "./Load";
import { mainCounter, nodeTones } from "./nodes";

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
