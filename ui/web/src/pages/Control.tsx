import {
  ActionIcon,
  Button,
  MultiSelect,
  NumberInput,
  SegmentedControl,
  Select,
  Switch,
  Textarea,
  TextInput,
  Tooltip,
} from "@mantine/core";
import { useMutation, useQueries, useQuery } from "@tanstack/react-query";
import { type FormEvent, useEffect, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { ApiError, api, must, type Schemas } from "../api/client";
import { objects, page, peers, run as runQuery, runs, task as taskQuery, tasks } from "../api/queries";
import { useMay } from "../api/session";
import { useNow } from "../app/prefs";
import { say, sayProblem } from "../app/toast";
import { Icon } from "../components/Icon";
import { type Column, Table } from "../components/Lists";
import { Badge, Empty, Head, Loaded, Meter, Section, Trouble, Wait, When } from "../components/parts";
import { Terminal } from "../components/Terminal";
import { causeText, duration, hasEnded, stepText, tasksOf } from "../lib/runs";
import { spanText } from "../lib/time";
import { plural } from "../lib/value";

type Run = Schemas["Run"];
type Task = Schemas["Task"];

function Took({ begin, end }: { begin: string | null | undefined; end: string | null | undefined }) {
  const now = useNow(end ? 3_600_000 : 1000);
  const ms = duration(begin, end, now);
  return ms === null ? <span className="quiet">–</span> : <span className="num">{spanText(Math.max(0, ms))}</span>;
}

const RUN_STATES = ["running", "succeeded", "failed", "cancelled"];
const TASK_STATES = ["queued", "assigned", "running", "succeeded", "failed", "timed-out", "lost", "cancelled"];

/** What the query string says of a list, and how to change that. */
function useFilter(names: string[]) {
  const [params, setParams] = useSearchParams();
  const filter = Object.fromEntries(names.map((name) => [name, params.get(name) ?? undefined]));
  const set = (name: string, value: string | null) =>
    setParams((before) => {
      const next = new URLSearchParams(before);
      if (value) {
        next.set(name, value);
      } else {
        next.delete(name);
      }
      return next;
    });
  return { filter, set };
}

/** The rest of a list, a page at a time. */
function useMore<T>(path: string, filter: Record<string, string | undefined>, next: string | null | undefined) {
  const [more, setMore] = useState<{ items: T[]; next: string | null }>({ items: [], next: null });
  const [started, setStarted] = useState(false);
  const key = JSON.stringify(filter);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another filter, another list
  useEffect(() => {
    setMore({ items: [], next: null });
    setStarted(false);
  }, [key]);
  const cursor = started ? more.next : next;
  const load = async () => {
    if (cursor) {
      const loaded = await page<T>(path, filter, 100, cursor);
      setMore({ items: [...more.items, ...loaded.items], next: loaded.next });
      setStarted(true);
    }
  };
  return { items: more.items, hasMore: Boolean(cursor), load };
}

function Filters({ children }: { children: React.ReactNode }) {
  return <div className="bar">{children}</div>;
}

function FilterSelect({
  label,
  data,
  value,
  onChange,
}: {
  label: string;
  data: string[] | { value: string; label: string }[];
  value: string | undefined;
  onChange: (value: string | null) => void;
}) {
  return (
    <Select
      size="xs"
      w={150}
      aria-label={label}
      placeholder={label}
      clearable
      searchable
      data={data}
      value={value ?? null}
      onChange={onChange}
    />
  );
}

export function Runs() {
  const { filter, set } = useFilter(["state", "cluster", "node", "trigger"]);
  const query = useQuery(runs(filter, 100));
  const clusters = useQuery(objects("cluster")).data ?? [];
  const nodes = useQuery(objects("node")).data ?? [];
  const triggers = useQuery(objects("trigger")).data ?? [];
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
      <Filters>
        <FilterSelect
          label="State"
          data={RUN_STATES}
          value={filter["state"]}
          onChange={(value) => set("state", value)}
        />
        <FilterSelect
          label="Cluster"
          data={clusters.map((one) => one.name)}
          value={filter["cluster"]}
          onChange={(value) => set("cluster", value)}
        />
        <FilterSelect
          label="Node"
          data={nodes.map((one) => one.name)}
          value={filter["node"]}
          onChange={(value) => set("node", value)}
        />
        <FilterSelect
          label="Trigger"
          data={triggers.map((one) => one.name)}
          value={filter["trigger"]}
          onChange={(value) => set("trigger", value)}
        />
      </Filters>
      <Loaded query={query} lines={8}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title={Object.values(filter).some(Boolean) ? "No run is like that." : "Nothing has been run yet."}>
              {mayRun && <Link to="/run">Run a command</Link>}
            </Empty>
          ) : (
            <>
              <Table label="Runs" items={[...items, ...more.items]} id={(run) => run.id} columns={RUN_COLUMNS} />
              {more.hasMore && (
                <p>
                  <Button onClick={() => void more.load().catch(sayProblem)}>Show more</Button>
                </p>
              )}
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

export function Tasks() {
  const { filter, set } = useFilter(["state", "node", "peer", "action", "run"]);
  const query = useQuery(tasks(filter, 100));
  const nodes = useQuery(objects("node")).data ?? [];
  const actions = useQuery(objects("action")).data ?? [];
  const all = useQuery(peers).data ?? [];
  const more = useMore<Task>("/api/v1/tasks", filter, query.data?.next);
  return (
    <>
      <Head title="Tasks" crumbs={[{ to: "/runs", text: "Runs" }]} />
      <Filters>
        <FilterSelect
          label="State"
          data={TASK_STATES}
          value={filter["state"]}
          onChange={(value) => set("state", value)}
        />
        <FilterSelect
          label="Node"
          data={nodes.map((one) => one.name)}
          value={filter["node"]}
          onChange={(value) => set("node", value)}
        />
        <FilterSelect
          label="Action"
          data={actions.map((one) => one.name)}
          value={filter["action"]}
          onChange={(value) => set("action", value)}
        />
        <FilterSelect
          label="Peer"
          data={all.map((one) => ({ value: String(one.id), label: one.name }))}
          value={filter["peer"]}
          onChange={(value) => set("peer", value)}
        />
      </Filters>
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
                        <span className="quiet num">#{task.id}</span> {task.action ?? "a command"}
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
              {more.hasMore && (
                <p>
                  <Button onClick={() => void more.load().catch(sayProblem)}>Show more</Button>
                </p>
              )}
            </>
          )
        }
      </Loaded>
    </>
  );
}

/** Terminals that are open at once, without being asked for. */
const OPEN_MAX = 24;

function TaskTerminal({ task, search }: { task: Task; search: string }) {
  const mayRun = useMay("operator");
  return (
    <Terminal
      task={task}
      search={search}
      head={
        <>
          <Link to={`/tasks/${task.id}`} style={{ fontWeight: 500 }}>
            {task.node ?? `task ${task.id}`}
          </Link>
          <Badge bare state={task.state} text={task.exit_code ? `exit ${task.exit_code}` : undefined} />
          <span className="quiet small">
            <Took begin={task.started} end={task.finished} />
          </span>
          {mayRun && !hasEnded(task.state) && (
            <Tooltip label="Cancel this task">
              <ActionIcon
                size={24}
                aria-label={`Cancel the task on ${task.node ?? task.id}`}
                disabled={task.cancel_requested}
                onClick={() =>
                  void must(api.POST("/api/v1/tasks/{id}/cancel", { params: { path: { id: task.id } } })).catch(
                    sayProblem,
                  )
                }
              >
                <Icon name="stop" size={13} />
              </ActionIcon>
            </Tooltip>
          )}
        </>
      }
      foot={task.reason ? <span>{task.reason}</span> : undefined}
    />
  );
}

/** One run, or several that were begun together (`/runs/7,8,9`): all hosts side by side. */
export function RunPage() {
  const ids = (useParams().ids ?? "").split(",").map(Number).filter(Number.isInteger).slice(0, 50);
  const queries = useQueries({ queries: ids.map((id) => runQuery(id)) });
  const [params, setParams] = useSearchParams();
  const [search, setSearch] = useState("");
  const only = params.get("only") ?? "all";
  const found = queries.map((query) => query.data).filter((run) => run !== undefined);
  const taskLists = useQueries({ queries: ids.map((id) => tasks({ run: String(id) }, 1000)) });
  const navigate = useNavigate();
  const mayRun = useMay("operator");
  const wrong = queries.find((query) => query.isError);
  const first = found[0];
  if (wrong?.error instanceof ApiError && wrong.error.status === 404) {
    return (
      <>
        <Head title={`Run ${ids.join(", ")}`} crumbs={[{ to: "/runs", text: "Runs" }]} />
        <Empty title="There is no such run, or not any more." />
      </>
    );
  }
  if (!first) {
    return wrong ? <Trouble error={wrong.error} /> : <Wait lines={6} />;
  }
  const every = taskLists.flatMap((query) => query.data?.items ?? []).sort((a, b) => a.step - b.step || a.id - b.id);
  const isBad = (task: Task) => hasEnded(task.state) && task.state !== "succeeded";
  const chosen = every.filter((task) => only === "all" || (only === "failed" ? isBad(task) : !hasEnded(task.state)));
  const going = found.filter((run) => run.state === "running");
  const sum = found
    .map(tasksOf)
    .reduce((a, b) => ({ total: a.total + b.total, ended: a.ended + b.ended, failed: a.failed + b.failed }));
  const act = (what: "cancel" | "retry") => async () => {
    try {
      if (what === "cancel") {
        await Promise.all(
          going.map((run) => must(api.POST("/api/v1/runs/{id}/cancel", { params: { path: { id: run.id } } }))),
        );
        say("It is being cancelled.");
      } else {
        const begun = await Promise.all(
          found
            .filter((run) => run.state !== "running")
            .map((run) => must(api.POST("/api/v1/runs/{id}/retry", { params: { path: { id: run.id }, header: {} } }))),
        );
        void navigate(`/runs/${begun.map((one) => one.run).join(",")}`);
      }
    } catch (error) {
      sayProblem(error);
    }
  };
  const state = going.length > 0 ? "running" : (found.find((run) => run.state !== "succeeded")?.state ?? "succeeded");
  return (
    <>
      <Head
        title={found.length === 1 ? `Run ${first.id}` : `${plural(found.length, "run")}`}
        crumbs={[{ to: "/runs", text: "Runs" }]}
        actions={
          mayRun && (
            <>
              {going.length > 0 && (
                <Button
                  leftSection={<Icon name="stop" size={14} />}
                  disabled={going.every((run) => run.cancel_requested)}
                  onClick={() => void act("cancel")()}
                >
                  {going.every((run) => run.cancel_requested) ? "Being cancelled" : "Cancel"}
                </Button>
              )}
              {going.length === 0 && (
                <Button leftSection={<Icon name="retry" size={14} />} onClick={() => void act("retry")()}>
                  Run it again
                </Button>
              )}
            </>
          )
        }
      >
        <Badge state={state} />
      </Head>
      <div className="row wide">
        <span>{stepText(first)}</span>
        <span className="quiet">
          on {found.map((run) => run.node ?? run.cluster).join(", ")} · {causeText(first.cause)} ·{" "}
          <When at={first.created} as="moment" /> ·{" "}
          <Took begin={first.created} end={going.length ? null : first.finished} />
          {first.retry_of && (
            <>
              {" "}
              · again of <Link to={`/runs/${first.retry_of}`}>#{first.retry_of}</Link>
            </>
          )}
        </span>
        {found.map((run) => run.reason && <span key={run.id}>{run.reason}</span>)}
      </div>
      {first.cause.evidence && first.cause.evidence.length > 0 && (
        <p className="quiet small">
          {first.cause.trigger} saw{" "}
          {first.cause.evidence
            .slice(0, 5)
            .map((one) => `${one.counter} ${one.value ?? "missing"} on ${one.node}`)
            .join(", ")}
          .
        </p>
      )}
      {(first.steps.length > 1 || found.length > 1) && <Steps found={found} />}
      <div className="row">
        {sum.total > 1 && (
          <>
            <span style={{ width: 140 }}>
              <Meter
                part={sum.total ? sum.ended / sum.total : 0}
                tone={sum.failed > 0 ? "firing" : going.length ? "busy" : "ok"}
                label={`${sum.ended} of ${sum.total} tasks have ended`}
              />
            </span>
            <span className="num small quiet">
              {sum.ended} of {sum.total} ended{sum.failed > 0 && `, ${sum.failed} failed`}
            </span>
            <SegmentedControl
              size="xs"
              aria-label="Which tasks"
              data={[
                { value: "all", label: "All" },
                { value: "going", label: "Going on" },
                { value: "failed", label: "Failed" },
              ]}
              value={only}
              onChange={(value) => setParams(value === "all" ? {} : { only: value }, { replace: true })}
            />
            <TextInput
              size="xs"
              w={200}
              className="push"
              aria-label="Search in all outputs"
              placeholder="Search in all outputs…"
              value={search}
              onChange={(event) => setSearch(event.currentTarget.value)}
            />
          </>
        )}
      </div>
      {chosen.length === 0 ? (
        <Empty title={every.length === 0 ? "Its tasks have not been made yet." : "No task is like that."} />
      ) : (
        <div className={chosen.length === 1 ? "terms one" : "terms"}>
          {chosen.slice(0, OPEN_MAX).map((task) => (
            <TaskTerminal key={task.id} task={task} search={search} />
          ))}
        </div>
      )}
      {chosen.length > OPEN_MAX && (
        <Section title={`${chosen.length - OPEN_MAX} more tasks`}>
          <div className="row">
            {chosen.slice(OPEN_MAX).map((task) => (
              <Link key={task.id} to={`/tasks/${task.id}`}>
                <Badge state={task.state} text={task.node} />
              </Link>
            ))}
          </div>
        </Section>
      )}
    </>
  );
}

function Steps({ found }: { found: Run[] }) {
  return (
    <Table
      label="Steps"
      items={found.flatMap((run) => run.steps.map((step, index) => ({ run, step, index })))}
      id={({ run, index }) => `${run.id}/${index}`}
      columns={[
        {
          title: "Step",
          cell: ({ run, step, index }) => (
            <>
              {found.length > 1 && <span className="quiet num">#{run.id} </span>}
              {run.steps.length > 1 && <span className="quiet num">{index + 1}. </span>}
              {step.action ?? "a command"}
            </>
          ),
        },
        { title: "State", tight: true, cell: ({ step }) => <Badge state={step.state} bare /> },
        {
          title: "On",
          cell: ({ run, step }) =>
            (typeof step.target === "object" && step.target ? step.target.node : step.target) ??
            run.node ??
            run.cluster,
        },
        { title: "Tasks", number: true, cell: ({ step }) => `${step.ended}/${step.tasks.length}` },
        { title: "Failed", number: true, cell: ({ step }) => step.failed || "" },
        { title: "When it fails", cell: ({ step }) => <span className="quiet">{step.on_failure}</span> },
      ]}
    />
  );
}

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
              <dd>{task.action ?? "a command given with its run"}</dd>
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

interface Wanted {
  target: "cluster" | "nodes";
  cluster: string;
  nodes: string[];
  kind: "command" | "action";
  command: string;
  action: string;
  sudo: boolean;
  timeout: string;
  parallelism: number | "";
  batch: number | "";
  failures: string;
}

function bodyOf(wanted: Wanted): Partial<Schemas["RunRequest"]> {
  const onCluster = wanted.target === "cluster";
  return {
    ...(wanted.kind === "action"
      ? { action: wanted.action }
      : { command: wanted.command, ...(wanted.sudo ? { sudo: true } : {}) }),
    ...(wanted.timeout && wanted.kind === "command" ? { timeout: wanted.timeout } : {}),
    ...(onCluster && wanted.parallelism !== "" ? { parallelism: wanted.parallelism } : {}),
    ...(onCluster && wanted.batch !== "" ? { batch: wanted.batch } : {}),
    ...(onCluster && wanted.failures ? { max_failures: wanted.failures } : {}),
  };
}

const LAST = "rscaler.commands";

function lastCommands(): string[] {
  try {
    return JSON.parse(sessionStorage.getItem(LAST) ?? "[]");
  } catch {
    return [];
  }
}

export function NewRun() {
  const [params] = useSearchParams();
  const clusters = useQuery(objects("cluster")).data ?? [];
  const nodes = useQuery(objects("node")).data ?? [];
  const actions = useQuery(objects("action")).data ?? [];
  const navigate = useNavigate();
  const may = useMay("operator");
  const mayKeep = useMay("admin");
  const [more, setMore] = useState(false);
  const [wanted, setWanted] = useState<Wanted>({
    target: params.get("node") ? "nodes" : "cluster",
    cluster: params.get("cluster") ?? "",
    nodes: params.getAll("node"),
    kind: params.get("action") ? "action" : "command",
    command: params.get("command") ?? "",
    action: params.get("action") ?? "",
    sudo: false,
    timeout: "",
    parallelism: "",
    batch: "",
    failures: "",
  });
  const set = (change: Partial<Wanted>) => setWanted({ ...wanted, ...change });
  const cluster = wanted.cluster || clusters[0]?.name || "";
  const begin = useMutation({
    mutationFn: async () => {
      const body = bodyOf(wanted) as Schemas["RunRequest"];
      const header = () => ({ "Idempotency-Key": `ui-${Date.now()}-${Math.random().toString(36).slice(2)}` });
      if (wanted.target === "cluster") {
        return [
          await must(
            api.POST("/api/v1/clusters/{name}/run", { params: { path: { name: cluster }, header: header() }, body }),
          ),
        ];
      }
      return Promise.all(
        wanted.nodes.map((name) =>
          must(api.POST("/api/v1/nodes/{name}/run", { params: { path: { name }, header: header() }, body })),
        ),
      );
    },
    onSuccess: (begun) => {
      if (wanted.kind === "command") {
        const kept = [wanted.command, ...lastCommands().filter((one) => one !== wanted.command)].slice(0, 12);
        sessionStorage.setItem(LAST, JSON.stringify(kept));
      }
      void navigate(`/runs/${begun.map((one) => one.run).join(",")}`);
    },
  });
  const error = begin.error instanceof ApiError ? begin.error : null;
  const wrong = (pointer: string) => error?.fields.find((field) => field.pointer.startsWith(pointer))?.detail;
  const count =
    wanted.target === "cluster" ? nodes.filter((node) => node.cluster === cluster).length : wanted.nodes.length;
  const ready = count > 0 && (wanted.kind === "command" ? wanted.command.trim() !== "" : wanted.action !== "");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (ready) {
      begin.mutate();
    }
  };
  if (!may) {
    return (
      <>
        <Head title="Run a command" />
        <Empty title="You may watch, and not run anything.">It takes the role of an operator.</Empty>
      </>
    );
  }
  const recent = lastCommands();
  return (
    <>
      <Head title="Run a command" crumbs={[{ to: "/runs", text: "Runs" }]} />
      <form className="form" onSubmit={submit} style={{ maxWidth: 820 }}>
        <div className="bar">
          <SegmentedControl
            size="xs"
            aria-label="Where"
            data={[
              { value: "cluster", label: "On a cluster" },
              { value: "nodes", label: "On nodes" },
            ]}
            value={wanted.target}
            onChange={(value) => set({ target: value as Wanted["target"] })}
          />
          {wanted.target === "cluster" ? (
            <Select
              size="xs"
              w={200}
              aria-label="Cluster"
              searchable
              data={clusters.map((one) => one.name)}
              value={cluster}
              onChange={(value) => set({ cluster: value ?? "" })}
            />
          ) : (
            <MultiSelect
              size="xs"
              style={{ flex: 1, minWidth: 220 }}
              aria-label="Nodes"
              placeholder={wanted.nodes.length === 0 ? "One or more nodes" : ""}
              searchable
              hidePickedOptions
              data={nodes.map((one) => one.name)}
              value={wanted.nodes}
              onChange={(value) => set({ nodes: value })}
            />
          )}
          <span className="quiet small">{plural(count, "node")}</span>
        </div>
        <div className="bar">
          <SegmentedControl
            size="xs"
            aria-label="What"
            data={[
              { value: "command", label: "A command" },
              { value: "action", label: "An action" },
            ]}
            value={wanted.kind}
            onChange={(value) => set({ kind: value as Wanted["kind"] })}
          />
          {wanted.kind === "command" && recent.length > 0 && (
            <Select
              size="xs"
              style={{ flex: 1 }}
              aria-label="Earlier commands"
              placeholder="Earlier commands"
              data={recent}
              value={null}
              onChange={(value) => value && set({ command: value })}
            />
          )}
        </div>
        {wanted.kind === "command" ? (
          <Textarea
            aria-label="Command"
            placeholder="uptime"
            autosize
            minRows={4}
            maxRows={18}
            styles={{ input: { fontFamily: "var(--mono)" } }}
            value={wanted.command}
            error={wrong("/command")}
            onChange={(event) => set({ command: event.currentTarget.value })}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && ready) {
                begin.mutate();
              }
            }}
          />
        ) : (
          <Select
            aria-label="Action"
            placeholder="Which"
            searchable
            data={actions.map((one) => one.name)}
            value={wanted.action || null}
            error={wrong("/action")}
            onChange={(value) => set({ action: value ?? "" })}
          />
        )}
        {wanted.kind === "command" && (
          <Switch
            label="As root, by sudo"
            checked={wanted.sudo}
            onChange={(event) => set({ sudo: event.currentTarget.checked })}
          />
        )}
        {more ? (
          <div className="two">
            {wanted.kind === "command" && (
              <TextInput
                size="xs"
                label="Timeout"
                placeholder="60s"
                value={wanted.timeout}
                error={wrong("/timeout")}
                onChange={(event) => set({ timeout: event.currentTarget.value })}
              />
            )}
            {wanted.target === "cluster" && (
              <>
                <NumberInput
                  size="xs"
                  label="At most so many at once"
                  min={0}
                  value={wanted.parallelism}
                  error={wrong("/parallelism")}
                  onChange={(value) => set({ parallelism: typeof value === "number" ? value : "" })}
                />
                <NumberInput
                  size="xs"
                  label="In groups of"
                  min={0}
                  value={wanted.batch}
                  error={wrong("/batch")}
                  onChange={(value) => set({ batch: typeof value === "number" ? value : "" })}
                />
                <TextInput
                  size="xs"
                  label="Stop when so many fail"
                  placeholder="100%"
                  value={wanted.failures}
                  error={wrong("/max_failures")}
                  onChange={(event) => set({ failures: event.currentTarget.value })}
                />
              </>
            )}
          </div>
        ) : (
          <p>
            <button type="button" className="linkish" onClick={() => setMore(true)}>
              Timeout, groups, how many may fail
            </button>
          </p>
        )}
        {begin.isError && (error?.fields.length ?? 0) === 0 && <Trouble error={begin.error} />}
        <div className="row">
          <Button
            type="submit"
            size="sm"
            variant="filled"
            disabled={!ready}
            loading={begin.isPending}
            leftSection={<Icon name="run" size={14} />}
          >
            Run on {plural(count, "node")}
          </Button>
          <span className="quiet small">
            <kbd>Ctrl</kbd> <kbd>Enter</kbd>
          </span>
          {mayKeep && (
            <Link className="link push" to="/admin/actions/+new">
              Keep it as an action
            </Link>
          )}
        </div>
      </form>
    </>
  );
}
