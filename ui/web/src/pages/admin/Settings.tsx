import { Button, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, send } from "../../api/client";
import { settings } from "../../api/queries";
import { useMay } from "../../api/session";
import { say } from "../../app/toast";
import { Head, Loaded, Trouble } from "../../components/parts";
import { toPointer } from "../../lib/pointer";

export function SettingsPage() {
  const query = useQuery(settings);
  const may = useMay("admin");
  const [value, setValue] = useState<Record<string, string>>({});
  const save = useMutation({
    mutationFn: () =>
      send(
        "PATCH",
        "/api/v1/settings",
        Object.fromEntries(Object.entries(value).map(([key, text]) => [key, text || null])),
      ),
    onSuccess: async () => {
      await query.refetch();
      setValue({});
      say("The settings are saved.");
    },
  });
  const errors = save.error instanceof ApiError ? save.error.fields : [];
  const words: Record<string, [string, string]> = {
    keep_raw: ["Samples as they came", "1 h to 10 years"],
    keep_five_minutes: ["Rollups of 5 minutes", "never shorter than samples as they came"],
    keep_hours: ["Rollups of an hour", "never shorter than rollups of 5 minutes"],
  };
  return (
    <>
      <Head title="Settings" crumbs={[{ to: "/admin", text: "Administration" }]} />
      <Loaded query={query}>
        {(data) => (
          <form
            className="form"
            onSubmit={(event) => {
              event.preventDefault();
              save.mutate();
            }}
          >
            {Object.entries(data).map(([key, now]) => (
              <TextInput
                key={key}
                label={`${words[key]?.[0] ?? key} are kept for`}
                description={words[key]?.[1]}
                disabled={!may}
                value={value[key] ?? String(now)}
                error={errors.find((field) => field.pointer === toPointer([key]))?.detail}
                onChange={(event) => setValue({ ...value, [key]: event.currentTarget.value })}
              />
            ))}
            {save.isError && errors.length === 0 && <Trouble error={save.error} />}
            {may && (
              <div>
                <Button
                  type="submit"
                  variant="filled"
                  size="sm"
                  disabled={Object.keys(value).length === 0}
                  loading={save.isPending}
                >
                  Save
                </Button>
              </div>
            )}
          </form>
        )}
      </Loaded>
    </>
  );
}
