import { Button, SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { objects } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { Empty, Loaded, Section, When } from "../../components/parts";
import { useQueryString } from "../../components/useQueryString";
import { isCountable, objectName, type Row, rowsOf, typeText } from "../../lib/mbeans";
import { AddCounter } from "./AddCounter";
import { AttributeTable } from "./AttributeTable";
import { Invoke, type Operation } from "./Invoke";
import { type Mbean, one, type Place } from "./useMbeans";

const EVERY: Record<string, number | false> = { "2s": 2000, "5s": 5000, "30s": 30_000, off: false };

/** One MBean: what it has, read again and again while the page is in sight, and what it can do. */
export function MbeanPanel({ place, name, onClose }: { place: Place; name: string; onClose: () => void }) {
  const { params, change } = useQueryString();
  const every = params.get("every") ?? "5s";
  const query = useQuery(one(place, name, EVERY[every] ?? 5000));
  const cluster = useQuery(objects("node")).data?.find((node) => node.name === place.node)?.cluster ?? "";
  const mayConfigure = useMay("admin");
  const [counted, setCounted] = useState<Row | null>(null);
  const [invoked, setInvoked] = useState<Operation | null>(null);
  const parts = objectName(name);
  return (
    <div className="stack">
      <header className="row">
        <Button className="back" size="compact-xs" leftSection={<Icon name="left" size={12} />} onClick={onClose}>
          All MBeans
        </Button>
        <h2>{parts?.keys.map(([, value]) => value).join(" · ") || name}</h2>
        <span className="row tight push">
          {query.data && (
            <span className="quiet small">
              read <When at={query.data.at} as="clock" />
            </span>
          )}
          <SegmentedControl
            size="xs"
            aria-label="How often it is read"
            data={Object.keys(EVERY)}
            value={every in EVERY ? every : "5s"}
            onChange={(value) => change({ every: value === "5s" ? null : value }, true)}
          />
        </span>
      </header>
      <Loaded query={query} lines={7}>
        {({ mbean, late }) =>
          mbean === null ? (
            <Empty title="It is not there any more.">MBeans come and go with what they stand for.</Empty>
          ) : (
            <>
              <About name={name} mbean={mbean} />
              {query.isError && <p className="problem">{query.error.message}</p>}
              {late !== null && <p className="problem">Its values could not be read: {late}</p>}
              <Section
                title="Attributes"
                more={<span className="quiet small">{mbean.attributes.length || "none"}</span>}
              >
                {mbean.attributes.length > 0 && (
                  <AttributeTable
                    rows={mbean.attributes.flatMap((attribute) =>
                      rowsOf(attribute.name, attribute.value).map((row) => ({ row, attribute })),
                    )}
                    place={{ ...place, cluster, mbean: name }}
                    onCount={mayConfigure ? setCounted : null}
                  />
                )}
              </Section>
              {mbean.operations.length > 0 && (
                <Section title="Operations">
                  <Operations items={mbean.operations} onRun={setInvoked} />
                </Section>
              )}
            </>
          )
        }
      </Loaded>
      {counted && (
        <AddCounter
          mbean={name}
          row={counted}
          cluster={cluster}
          isGrowing={isCountable(counted.value) && /count$|time$|total/i.test(counted.attribute)}
          onClose={() => setCounted(null)}
        />
      )}
      {invoked && (
        <Invoke
          place={place}
          mbean={name}
          operation={invoked}
          onClose={() => setInvoked(null)}
          onDone={query.refetch}
        />
      )}
    </div>
  );
}

/** What Java says of an MBean that says nothing of itself. */
const NOTHING = "Information on the management interface of the MBean";

function About({ name, mbean }: { name: string; mbean: Mbean }) {
  return (
    <div className="about quiet small">
      {mbean.description && mbean.description !== NOTHING && <p>{mbean.description}</p>}
      <p className="mono">{name}</p>
      <p>of class {mbean.class}</p>
    </div>
  );
}

function Operations({ items, onRun }: { items: Operation[]; onRun: (operation: Operation) => void }) {
  return (
    <Table
      label="Operations"
      items={items}
      id={(operation) => `${operation.name}(${operation.arguments.map((one) => one.type).join()})`}
      columns={[
        {
          title: "Operation",
          cell: (operation) => (
            <>
              <span className="mono">
                <strong>{operation.name}</strong>(
                {operation.arguments.map((one) => `${typeText(one.type)} ${one.name}`).join(", ")})
              </span>
              {operation.description && operation.description !== operation.name && (
                <div className="desc">{operation.description}</div>
              )}
            </>
          ),
        },
        {
          title: "Gives",
          tight: true,
          cell: (operation) => <span className="mono">{typeText(operation.returns)}</span>,
        },
        {
          title: "Do",
          tight: true,
          cell: (operation) => (
            <Button
              size="compact-xs"
              leftSection={<Icon name="run" size={11} />}
              aria-label={`Run ${operation.name}`}
              onClick={() => onRun(operation)}
            >
              Run…
            </Button>
          ),
        },
      ]}
    />
  );
}
