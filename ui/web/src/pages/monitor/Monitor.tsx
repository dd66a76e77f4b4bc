import { Button, SegmentedControl, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { events, objects, runs } from "../../api/queries";
import { useMay } from "../../api/session";
import { useNow } from "../../app/prefs";
import { Icon } from "../../components/Icon";
import { Empty, Head, Wait } from "../../components/parts";
import { isRelative, resolve } from "../../lib/range";
import { parseSpan } from "../../lib/time";
import { Focus } from "./Focus";
import { GraphCard } from "./GraphCard";
import { RangeBar } from "./RangeBar";
import { type Context, useView } from "./view";

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
  const here = counters.data.filter(
    (one) => (one.clusters.includes(cluster) || one.clusters.includes("*")) && (!jvm || one.type !== "ssh"),
  );
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
  const jvms = [...new Set(own.filter((one) => !node || one.name === node).flatMap((one) => one.jvms ?? []))].sort();
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
          onChange={(value) => change({ node: value })}
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
        {mayRun && node && jvm && jvms.includes(jvm) && (
          <Button
            component={Link}
            to={`/nodes/${encodeURIComponent(node)}/jvms/${encodeURIComponent(jvm)}`}
            leftSection={<Icon name="jvm" size={14} />}
          >
            MBeans
          </Button>
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
