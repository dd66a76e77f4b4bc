import { Button, Modal, SegmentedControl, Select, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { api, must } from "../../api/client";
import { say, sayProblem } from "../../app/toast";
import { Icon } from "../../components/Icon";
import { parseSpan, spanText } from "../../lib/time";
import type { Trigger } from "./words";

export function Execute({ trigger, nodes }: { trigger: Trigger; nodes: string[] }) {
  const [open, setOpen] = useState(false);
  const needsNode = trigger.steps.some((step) => step.target === "firing-node");
  const [node, setNode] = useState<string | null>(nodes[0] ?? null);
  const navigate = useNavigate();
  const execute = useMutation({
    mutationFn: () =>
      must(
        api.POST("/api/v1/triggers/{name}/execute", {
          params: {
            path: { name: trigger.name },
            header: { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) },
          },
          body: { node: needsNode ? node : null },
        }),
      ),
    onSuccess: ({ run }) => void navigate(`/runs/${run}`),
    onError: sayProblem,
  });
  return (
    <>
      <Button leftSection={<Icon name="run" size={14} />} onClick={() => setOpen(true)}>
        Execute
      </Button>
      <Modal opened={open} onClose={() => setOpen(false)} title={`Execute ${trigger.name}`} size="sm">
        <div className="stack">
          <p>
            Its steps run now, whatever its condition, its cooldown and maintenance say:{" "}
            {trigger.steps.map((step) => step.action).join(", ")}.
          </p>
          {needsNode && <Select label="On the node" searchable data={nodes} value={node} onChange={setNode} />}
          <Button variant="filled" loading={execute.isPending} onClick={() => execute.mutate()}>
            Execute
          </Button>
        </div>
      </Modal>
    </>
  );
}

const SILENCES = ["15m", "1h", "4h", "24h"];

export function Silence({ trigger }: { trigger: Trigger }) {
  const [open, setOpen] = useState(false);
  const [span, setSpan] = useState("1h");
  const [reason, setReason] = useState("");
  const make = useMutation({
    mutationFn: async () => {
      const from = Date.now();
      const to = from + (parseSpan(span) ?? 0);
      const name = `${trigger.cluster}-${new Date(from)
        .toISOString()
        .slice(0, 19)
        .replace(/[^0-9]/g, "")}`;
      await must(
        api.POST("/api/v1/maintenance-windows", {
          params: {},
          body: {
            name,
            cluster: trigger.cluster,
            from: new Date(from).toISOString(),
            to: new Date(to).toISOString(),
            reason: reason || "work on hosts",
          },
        }),
      );
    },
    onSuccess: () => {
      setOpen(false);
      say(`Triggers of ${trigger.cluster} keep still for ${spanText(parseSpan(span) ?? 0)}.`);
    },
    onError: sayProblem,
  });
  return (
    <>
      <Button onClick={() => setOpen(true)}>Maintenance</Button>
      <Modal opened={open} onClose={() => setOpen(false)} title={`Maintenance of ${trigger.cluster}`} size="sm">
        <div className="stack">
          <p>All triggers of the cluster keep still from now on, for</p>
          <SegmentedControl data={SILENCES} value={span} onChange={setSpan} aria-label="How long" />
          <TextInput
            label="Why"
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
            placeholder="upgrade of the kernel"
          />
          <Button variant="filled" loading={make.isPending} onClick={() => make.mutate()}>
            Begin
          </Button>
        </div>
      </Modal>
    </>
  );
}
