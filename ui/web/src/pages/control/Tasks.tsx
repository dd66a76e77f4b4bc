import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { peers, tasks } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Loaded, When } from "../../components/parts";
import { useNames } from "../../components/useNames";
import { useFilter } from "../../components/useQueryString";
import { doneText } from "../../lib/runs";
import { Filters, ShowMore, useMore } from "./filters";
import type { Task } from "./TaskTerminal";
import { Took } from "./Took";

const TASK_STATES = ["queued", "assigned", "running", "succeeded", "failed", "timed-out", "lost", "cancelled"];

export function Tasks() {
  const { filter, set } = useFilter(["state", "node", "peer", "action", "run"]);
  const query = useQuery(tasks(filter, 100));
  const nodes = useNames("node");
  const actions = useNames("action");
  const all = useQuery(peers).data ?? [];
  const more = useMore<Task>("/api/v1/tasks", filter, query.data?.next);
  return (
    <>
      <Head title="Tasks" crumbs={[{ to: "/runs", text: "Runs" }]} />
      <Filters
        filter={filter}
        set={set}
        choices={{
          state: TASK_STATES,
          node: nodes,
          action: actions,
          peer: all.map((one) => ({ value: String(one.id), label: one.name })),
        }}
      />
      <Loaded query={query} lines={8}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty
              title={Object.values(filter).some(Boolean) ? "No task is like that." : "There have been no tasks yet."}
            />
          ) : (
            <>
              <Table
                label="Tasks"
                items={[...items, ...more.items]}
                id={(task) => task.id}
                columns={[
                  {
                    title: "Task",
                    cell: (task) => (
                      <Link to={`/tasks/${task.id}`}>
                        <span className="quiet num">#{task.id}</span> {doneText(task)}
                      </Link>
                    ),
                  },
                  { title: "State", tight: true, cell: (task) => <Badge state={task.state} /> },
                  { title: "Node", cell: (task) => task.node ?? "–" },
                  { title: "Run", cell: (task) => <Link to={`/runs/${task.run}`}>#{task.run}</Link> },
                  { title: "Peer", cell: (task) => all.find((one) => one.id === task.peer)?.name ?? "–" },
                  { title: "Attempt", number: true, cell: (task) => task.attempt },
                  { title: "Exit", number: true, cell: (task) => task.exit_code ?? "–" },
                  { title: "Took", number: true, cell: (task) => <Took begin={task.started} end={task.finished} /> },
                  { title: "Made", tight: true, cell: (task) => <When at={task.created} /> },
                ]}
              />
              <ShowMore more={more} />
            </>
          )
        }
      </Loaded>
    </>
  );
}
