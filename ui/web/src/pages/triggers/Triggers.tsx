import { Button } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { objects, triggerState } from "../../api/queries";
import { useMay } from "../../api/session";
import { useNow } from "../../app/prefs";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, When } from "../../components/parts";
import { conditionText } from "../../lib/triggers";
import { valueText } from "../../lib/value";
import { heldPart, unitsOf } from "./words";

const WORST = ["firing", "recovering", "pending", "ok"];

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
