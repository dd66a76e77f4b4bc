import { Button, SegmentedControl, TextInput } from "@mantine/core";
import { useQueries } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { ApiError, api, must } from "../../api/client";
import { run as runQuery, tasks } from "../../api/queries";
import { useMay } from "../../api/session";
import { say, sayProblem } from "../../app/toast";
import { Icon } from "../../components/Icon";
import { Table } from "../../components/Lists";
import { Badge, Empty, Head, Meter, Section, Trouble, Wait, When } from "../../components/parts";
import { causeText, doneText, hasEnded, stepText, tasksOf } from "../../lib/runs";
import { plural } from "../../lib/value";
import type { Run } from "./Runs";
import { type Task, TaskTerminal } from "./TaskTerminal";
import { Took } from "./Took";

/** Terminals that are open at once, without being asked for. */
const OPEN_MAX = 24;

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
              {doneText(step)}
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
