import { Button, Select, TextInput } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { api, must } from "../../api/client";
import { Table } from "../../components/Lists";
import { Section, Trouble, When } from "../../components/parts";
import { absolute } from "../../lib/range";
import { countText, plural, valueText } from "../../lib/value";
import { TriggerGraph } from "./TriggerGraph";
import type { Trigger } from "./words";

const SINCE = ["1h", "6h", "24h", "7d"];

/** When the trigger would have fired, by the samples that are kept. */
export function Test({ trigger }: { trigger: Trigger }) {
  const [since, setSince] = useState("1h");
  const first = trigger.when[0];
  const [threshold, setThreshold] = useState(String(first?.threshold ?? ""));
  const [hold, setHold] = useState(trigger.for ?? "0s");
  const tried = useMemo<Trigger>(() => {
    const value = Number(threshold);
    return {
      ...trigger,
      for: hold,
      when: trigger.when.map((one, index) =>
        index === 0 && threshold !== "" && Number.isFinite(value) ? { ...one, threshold: value } : one,
      ),
    };
  }, [trigger, threshold, hold]);
  const test = useMutation({
    mutationFn: () => {
      const { version: _v, created: _c, updated: _u, ...document } = tried;
      return must(
        api.POST("/api/v1/triggers/{name}/test", {
          params: { path: { name: trigger.name } },
          body: { since, trigger: document as unknown as Record<string, never> },
        }),
      );
    },
  });
  const result = test.data;
  return (
    <Section title="Test against the past">
      <div className="stack">
        <div className="bar">
          <Select
            size="xs"
            w={110}
            label="The last"
            data={SINCE}
            value={since}
            onChange={(value) => setSince(value ?? "1h")}
          />
          <TextInput
            size="xs"
            w={120}
            label={`${first?.counter} ${first?.op}`}
            value={threshold}
            inputMode="decimal"
            onChange={(event) => setThreshold(event.currentTarget.value)}
          />
          <TextInput
            size="xs"
            w={90}
            label="for"
            value={hold}
            onChange={(event) => setHold(event.currentTarget.value)}
          />
          <Button variant="filled" size="xs" loading={test.isPending} onClick={() => test.mutate()}>
            Test
          </Button>
          <span className="quiet small">Changes nothing, runs nothing.</span>
        </div>
        {test.isError && <Trouble error={test.error} />}
        {result && (
          <>
            <p>
              <strong>
                {result.firings.length === 0
                  ? "It would not have fired"
                  : `It would have fired ${plural(result.firings.length, "time")}${result.truncated ? " and more" : ""}`}
              </strong>{" "}
              <span className="quiet">by {countText(result.samples)} samples.</span>
            </p>
            <div className="card graph">
              <TriggerGraph
                trigger={tried}
                range={absolute(Date.parse(result.from), Date.parse(result.to))}
                firings={result.firings}
              />
            </div>
            {result.firings.length > 0 && (
              <Table
                label="Firings that would have been"
                items={result.firings}
                id={(one) => `${one.at}/${one.node}`}
                columns={[
                  { title: "At", tight: true, cell: (one) => <When at={one.at} as="moment" /> },
                  { title: "Node", cell: (one) => one.node ?? trigger.cluster },
                  {
                    title: "It saw",
                    cell: (one) =>
                      one.evidence
                        .slice(0, 3)
                        .map((seen) => `${seen.counter} ${valueText(seen.value)} on ${seen.node}`)
                        .join(", "),
                  },
                  {
                    title: "Recovered",
                    tight: true,
                    cell: (one) => (one.recovered ? <When at={one.recovered} as="moment" /> : "not yet"),
                  },
                ]}
              />
            )}
          </>
        )}
      </div>
    </Section>
  );
}
