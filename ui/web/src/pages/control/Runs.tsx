import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { runs } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { type Column, Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, When } from "../../components/parts";
import { useNames } from "../../components/useNames";
import { useFilter } from "../../components/useQueryString";
import { causeText, stepText, tasksOf } from "../../lib/runs";
import { Filters, ShowMore, useMore } from "./filters";
import { Took } from "./Took";

export type Run = Schemas["Run"];

const RUN_STATES = ["running", "succeeded", "failed", "cancelled"];

export function Runs() {
  const { filter, set } = useFilter(["state", "cluster", "node", "trigger"]);
  const query = useQuery(runs(filter, 100));
  const clusters = useNames("cluster");
  const nodes = useNames("node");
  const triggers = useNames("trigger");
  const more = useMore<Run>("/api/v1/runs", filter, query.data?.next);
  const mayRun = useMay("operator");
  return (
    <>
      <Head
        title="Runs"
        actions={
          <>
            <Button component={Link} to="/tasks">
              Tasks
            </Button>
            {mayRun && (
              <Button component={Link} to="/run" variant="filled" leftSection={<Icon name="run" size={14} />}>
                Run a command
              </Button>
            )}
          </>
        }
      />
      <Filters
        filter={filter}
        set={set}
        choices={{ state: RUN_STATES, cluster: clusters, node: nodes, trigger: triggers }}
      />
      <Loaded query={query} lines={8}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={Object.values(filter).some(Boolean) ? "No run is like that." : "Nothing has been run yet."}>
              {mayRun && <Link to="/run">Run a command</Link>}
            </Empty>
          ) : (
            <>
              <Table label="Runs" items={[...items, ...more.items]} id={(run) => run.id} columns={RUN_COLUMNS} />
              <ShowMore more={more} />
            </>
          )
        }
      </Loaded>
    </>
  );
}

const RUN_COLUMNS: Column<Run>[] = [
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
  {
    title: "Tasks",
    cell: (run) => {
      const { total, ended, failed } = tasksOf(run);
      return (
        <span className="num">
          {ended === total ? total : `${ended}/${total}`}
          {failed > 0 && <span style={{ color: "var(--firing)" }}> · {failed} failed</span>}
        </span>
      );
    },
  },
  { title: "Because of", cell: (run) => <span className="quiet">{causeText(run.cause)}</span> },
  { title: "Took", number: true, cell: (run) => <Took begin={run.created} end={run.finished} /> },
  { title: "Began", tight: true, cell: (run) => <When at={run.created} /> },
];
