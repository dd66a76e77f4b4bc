import { Button, Modal, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useNavigate } from "react-router";
import { ApiError, api, must, type Schemas } from "../../api/client";
import { run as runQuery, tasks } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { Loaded, Trouble } from "../../components/parts";
import { counterName, typeText } from "../../lib/mbeans";
import { hasEnded } from "../../lib/runs";
import { TaskTerminal } from "../control/TaskTerminal";
import type { Place } from "./useMbeans";

export type Operation = Schemas["MbeanOperation"];

/** Runs an operation: nothing happens before it is confirmed here, and its result comes as a run's output. */
export function Invoke({
  place,
  mbean,
  operation,
  onClose,
  onDone,
}: {
  place: Place;
  mbean: string;
  operation: Operation;
  onClose: () => void;
  onDone: () => unknown;
}) {
  const navigate = useNavigate();
  const mayKeep = useMay("admin");
  const [args, setArgs] = useState<string[]>(
    operation.arguments.map(({ type }) => (type === "boolean" ? "false" : "")),
  );
  const signature = operation.arguments.map(({ type }) => type);
  const begin = useMutation({
    mutationFn: () =>
      must(
        api.POST("/api/v1/nodes/{name}/run", {
          params: {
            path: { name: place.node },
            header: { "Idempotency-Key": `ui-${Date.now()}-${Math.random().toString(36).slice(2)}` },
          },
          body: {
            invoke: { jvm: place.jvm, mbean, operation: operation.name, signature },
            args,
          } as Schemas["RunRequest"],
        }),
      ),
  });
  const error = begin.error instanceof ApiError ? begin.error : null;
  const wrong = (at: number) => error?.fields.find((field) => field.pointer === `/args/${at}`)?.detail;
  const start = {
    name: counterName(mbean, operation.name, ""),
    type: "jmx-invoke",
    jvm: place.jvm,
    mbean,
    operation: operation.name,
    args,
    signature,
  };
  const title = `${operation.name} on ${place.node} / ${place.jvm}`;
  return (
    <Modal opened onClose={onClose} title={title} size="lg">
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          begin.mutate();
        }}
      >
        <p className="mono small quiet">{mbean}</p>
        {operation.description && operation.description !== operation.name && <p>{operation.description}</p>}
        {operation.arguments.map((argument, at) => {
          const set = (text: string) => setArgs(args.map((old, index) => (index === at ? text : old)));
          const name = argument.name || `argument ${at + 1}`;
          return argument.type === "boolean" ? (
            <Switch
              // biome-ignore lint/suspicious/noArrayIndexKey: arguments are known by their place
              key={at}
              label={name}
              description={argument.type}
              checked={args[at] === "true"}
              onChange={(event) => set(String(event.currentTarget.checked))}
            />
          ) : (
            <TextInput
              // biome-ignore lint/suspicious/noArrayIndexKey: arguments are known by their place
              key={at}
              label={name}
              description={`${typeText(argument.type)}${argument.type.startsWith("[") ? ", with commas between" : ""}`}
              value={args[at] ?? ""}
              error={wrong(at)}
              onChange={(event) => set(event.currentTarget.value)}
            />
          );
        })}
        {begin.isError && <Trouble error={begin.error} />}
        <div className="row">
          <Button
            type="submit"
            size="sm"
            variant="filled"
            loading={begin.isPending}
            leftSection={<Icon name="run" size={13} />}
          >
            {begin.data ? "Run it again" : `Run ${operation.name}`}
          </Button>
          <Button size="sm" onClick={onClose}>
            {begin.data ? "Close" : "Leave it"}
          </Button>
          {mayKeep && (
            <button
              type="button"
              className="linkish push"
              onClick={() => void navigate("/admin/actions/+new", { state: { start } })}
            >
              Keep it as an action
            </button>
          )}
        </div>
      </form>
      {begin.data && <Result key={begin.data.run} id={begin.data.run} onDone={onDone} />}
    </Modal>
  );
}

function Result({ id, onDone }: { id: number; onDone: () => unknown }) {
  const run = useQuery(runQuery(id));
  const list = useQuery({
    ...tasks({ run: String(id) }),
    refetchInterval: run.data?.state === "running" ? 2000 : false,
  });
  const task = list.data?.items[0];
  const isOver = task !== undefined && hasEnded(task.state);
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, when it is over
  useEffect(() => {
    if (isOver) {
      void onDone();
    }
  }, [isOver]);
  return (
    <div className="stack" style={{ marginTop: 16 }}>
      <p className="quiet small">
        <Link className="link" to={`/runs/${id}`}>
          Run {id}
        </Link>
      </p>
      <Loaded query={list}>{() => task && <TaskTerminal task={task} search="" />}</Loaded>
    </div>
  );
}
