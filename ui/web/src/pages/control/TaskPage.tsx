import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { peers, task as taskQuery } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Badge, Head, Loaded, Section, When } from "../../components/parts";
import { doneText } from "../../lib/runs";
import { TaskTerminal } from "./TaskTerminal";
import { Took } from "./Took";

export function TaskPage() {
  const id = Number(useParams().id);
  const query = useQuery(taskQuery(id));
  const all = useQuery(peers).data ?? [];
  const peerName = (peer: number | null | undefined) =>
    all.find((one) => one.id === peer)?.name ?? (peer ? `peer ${peer}` : "–");
  return (
    <>
      <Head
        title={`Task ${id}`}
        crumbs={[
          { to: "/runs", text: "Runs" },
          ...(query.data ? [{ to: `/runs/${query.data.run}`, text: `Run ${query.data.run}` }] : []),
        ]}
      >
        {query.data && <Badge state={query.data.state} />}
      </Head>
      <Loaded query={query}>
        {(task) => (
          <>
            <dl className="facts">
              <dt>Does</dt>
              <dd>{task.action ?? `${doneText(task)} given with its run`}</dd>
              <dt>On</dt>
              <dd>
                {task.node ? (
                  <Link className="link" to={`/monitor?node=${encodeURIComponent(task.node)}`}>
                    {task.node}
                  </Link>
                ) : (
                  "no node"
                )}
              </dd>
              <dt>Held by</dt>
              <dd>{peerName(task.peer)}</dd>
              <dt>Began</dt>
              <dd>
                <When at={task.started} as="moment" /> · took <Took begin={task.started} end={task.finished} />
              </dd>
              {task.reason && (
                <>
                  <dt>Why</dt>
                  <dd>{task.reason}</dd>
                </>
              )}
            </dl>
            <div className="terms one">
              <TaskTerminal task={task} search="" />
            </div>
            <Section title="Attempts">
              <Table
                label="Attempts"
                items={[
                  ...task.history,
                  ...(task.history.some((one) => one.attempt === task.attempt) || task.attempt === 0
                    ? []
                    : [
                        {
                          attempt: task.attempt,
                          peer: task.peer ?? 0,
                          state: task.state,
                          started: task.started,
                          finished: task.finished,
                          exit_code: task.exit_code,
                          reason: task.reason,
                        },
                      ]),
                ]}
                id={(one) => one.attempt}
                columns={[
                  { title: "Attempt", cell: (one) => <span className="num">{one.attempt}</span> },
                  { title: "Peer", cell: (one) => peerName(one.peer) },
                  { title: "State", tight: true, cell: (one) => <Badge bare state={one.state} /> },
                  { title: "Exit", number: true, cell: (one) => one.exit_code ?? "–" },
                  { title: "Began", cell: (one) => <When at={one.started} as="moment" /> },
                  { title: "Took", number: true, cell: (one) => <Took begin={one.started} end={one.finished} /> },
                  { title: "Why", cell: (one) => one.reason ?? "" },
                ]}
              />
            </Section>
          </>
        )}
      </Loaded>
    </>
  );
}
