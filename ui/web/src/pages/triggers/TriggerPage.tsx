import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { events, objects, triggerState } from "../../api/queries";
import { useMay } from "../../api/session";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, When } from "../../components/parts";
import { absolute, type Range } from "../../lib/range";
import { parseSpan, spanText } from "../../lib/time";
import { conditionText } from "../../lib/triggers";
import { countText, valueText } from "../../lib/value";
import { Feed } from "../overview/Feed";
import { Execute, Silence } from "./Act";
import { Test } from "./Test";
import { START, TriggerGraph } from "./TriggerGraph";
import { heldPart, type Trigger, unitsOf } from "./words";

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
