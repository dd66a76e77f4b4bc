import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import type { Schemas } from "../../api/client";
import { checks } from "../../api/queries";
import { usePrefs } from "../../app/prefs";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { download, Loaded, When } from "../../components/parts";
import { csv } from "../../lib/series";
import { momentText } from "../../lib/time";
import { valueText } from "../../lib/value";
import { GraphCard } from "./GraphCard";
import { CheckList } from "./Outputs";
import { useGraph } from "./useGraph";
import { type Context, useView } from "./view";
import { WhyNot } from "./WhyNot";

const ROWS_MAX = 200;

/** One counter: its graph, what it says in numbers, and what its script printed last. */
export function Focus({ counter, context }: { counter: Schemas["Counter"]; context: Context }) {
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
