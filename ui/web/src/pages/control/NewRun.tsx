import { Button, MultiSelect, NumberInput, SegmentedControl, Select, Switch, Textarea, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { ApiError, api, must, type Schemas } from "../../api/client";
import { objects } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { Empty, Head, Trouble } from "../../components/parts";
import { plural } from "../../lib/value";

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
  const first = clusters.find((one) => nodes.some((node) => node.cluster === one.name)) ?? clusters[0];
  const cluster = wanted.cluster || first?.name || "";
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
