import { Button, Modal } from "@mantine/core";
import { Suspense, useState } from "react";
import { type Schemas, send } from "../../api/client";
import { say } from "../../app/toast";
import { Table } from "../../components/Lists";
import { Trouble, Wait } from "../../components/parts";
import { plural } from "../../lib/value";
import { Editor } from "./FileFields";

/** Many documents at once, after a look at what they would change. */
export function ApplyButton() {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState("");
  const [plan, setPlan] = useState<Schemas["ApplyAnswer"] | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const apply = async (dry: boolean) => {
    setBusy(true);
    setError(null);
    try {
      const answer = await send<Schemas["ApplyAnswer"]>("POST", `/api/v1/apply${dry ? "?dry_run=true" : ""}`, text, {
        "content-type": "application/yaml",
      });
      if (dry) {
        setPlan(answer);
      } else {
        say(`${plural(answer.changes.filter((one) => one.effect !== "unchanged").length, "change")} applied.`);
        setOpen(false);
        setPlan(null);
      }
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Button onClick={() => setOpen(true)}>Apply YAML</Button>
      <Modal opened={open} onClose={() => setOpen(false)} title="Apply documents, all of them or none" size="xl">
        <div className="stack">
          <Suspense fallback={<Wait lines={6} />}>
            <Editor
              label="Documents"
              name="documents.yaml"
              value={text}
              onChange={(next) => {
                setText(next);
                setPlan(null);
              }}
            />
          </Suspense>
          {error !== null && <Trouble error={error} />}
          {plan && (
            <Table
              label="What would change"
              items={plan.changes}
              id={(one) => `${one.kind}/${one.name}`}
              columns={[
                { title: "Object", cell: (one) => `${one.kind} ${one.name}` },
                { title: "Would be", tight: true, cell: (one) => one.effect },
                { title: "Where", cell: (one) => (one.diff ?? []).map((diff) => diff.pointer).join(", ") },
              ]}
            />
          )}
          <div className="row">
            <Button
              variant={plan ? "default" : "filled"}
              loading={busy}
              disabled={!text.trim()}
              onClick={() => void apply(true)}
            >
              What would change?
            </Button>
            <Button
              variant={plan ? "filled" : "default"}
              disabled={!plan}
              loading={busy}
              onClick={() => void apply(false)}
            >
              Apply
            </Button>
          </div>
        </div>
      </Modal>
    </>
  );
}
