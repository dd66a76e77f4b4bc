import { SegmentedControl, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { checks, objects } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, Section, When, Words } from "../../components/parts";
import { failureText } from "../../lib/triggers";
import { plural } from "../../lib/value";
import { useView } from "./view";

export function CheckList({ items, search = "" }: { items: Schemas["Check"][]; search?: string }) {
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
                state={!check.ok ? "failed" : check.warning ? "pending" : "succeeded"}
                text={!check.ok ? failureText(check.failure?.code ?? "") : check.warning ? "in part" : "fine"}
              />
              {!check.ok && check.failure && (
                <div className="desc">
                  <Words text={check.failure.detail} />
                </div>
              )}
              {check.warning && (
                <div className="desc">
                  <Words text={check.warning} />
                </div>
              )}
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
