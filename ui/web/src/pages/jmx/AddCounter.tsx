import { Button, Modal, Switch } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { ApiError, send } from "../../api/client";
import { client, description } from "../../api/queries";
import { say } from "../../app/toast";
import { SchemaForm } from "../../components/form/SchemaForm";
import { Loaded, Trouble } from "../../components/parts";
import { counterName, guessedUnit, kindred, type Row } from "../../lib/mbeans";
import { fieldsOf } from "../../lib/schema";

const FIELDS = ["name", "mbean", "attribute", "key", "clusters", "interval", "unit", "rate"];

/** A counter of what one looks at: all is filled in, and the API judges it. */
export function AddCounter({
  mbean,
  row,
  cluster,
  isGrowing,
  onClose,
}: {
  mbean: string;
  row: Row;
  cluster: string;
  isGrowing: boolean;
  onClose: () => void;
}) {
  const schema = useQuery(description);
  const all = kindred(mbean);
  const [value, setValue] = useState<Record<string, unknown>>({
    name: counterName(mbean, row.attribute, row.key),
    type: "jmx",
    mbean,
    attribute: row.attribute,
    ...(row.key ? { key: row.key } : {}),
    ...(guessedUnit(row.attribute, row.key) ? { unit: guessedUnit(row.attribute, row.key) } : {}),
    clusters: cluster ? [cluster] : [],
    interval: "10s",
  });
  const save = useMutation({
    mutationFn: () => send("POST", "/api/v1/counters", value),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: ["counter"] });
      say(`${value["name"]} is made. Its graph begins with the next reading.`);
      onClose();
    },
  });
  const error = save.error instanceof ApiError ? save.error : null;
  const errors = useMemo(() => new Map((error?.fields ?? []).map((field) => [field.pointer, field.detail])), [error]);
  return (
    <Modal opened onClose={onClose} title="Make a counter" size="lg">
      <Loaded query={schema}>
        {({ components: { schemas } }) => {
          const fields = fieldsOf(schemas["Counter"] ?? {}, schemas)
            .filter((field) => FIELDS.includes(field.name) && (field.name !== "key" || row.key !== ""))
            // What is filled in already explains itself.
            .map((field) => ({
              ...field,
              description: field.name === "rate" ? "Its growth per second is the sample." : "",
            }))
            .sort((a, b) => FIELDS.indexOf(a.name) - FIELDS.indexOf(b.name));
          const placed = (pointer: string) => fields.some((field) => pointer.startsWith(`/${field.name}`));
          return (
            <form
              className="form"
              noValidate
              onSubmit={(event) => {
                event.preventDefault();
                save.mutate();
              }}
            >
              {isGrowing && value["rate"] !== true && (
                <p className="hint">It looks like something that only grows: “Rate” counts its growth per second.</p>
              )}
              <SchemaForm fields={fields} state={{ value, onChange: setValue, errors }} />
              {all && (
                <Switch
                  label="Of each MBean of its type, as an instance"
                  description={all}
                  checked={value["mbean"] === all}
                  onChange={(event) => {
                    const next = event.currentTarget.checked ? all : mbean;
                    const isOwn = value["name"] === counterName(String(value["mbean"]), row.attribute, row.key);
                    const name = isOwn ? counterName(next, row.attribute, row.key) : value["name"];
                    setValue({ ...value, mbean: next, name });
                  }}
                />
              )}
              {save.isError && !error?.fields.every((field) => placed(field.pointer)) && <Trouble error={save.error} />}
              {error && error.fields.length === 0 && <Trouble error={error} />}
              <div className="row">
                <Button type="submit" size="sm" variant="filled" loading={save.isPending}>
                  Make the counter
                </Button>
                <Button size="sm" onClick={onClose}>
                  Leave it
                </Button>
              </div>
            </form>
          );
        }}
      </Loaded>
    </Modal>
  );
}
