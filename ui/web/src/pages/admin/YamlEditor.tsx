import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Suspense, useMemo, useState } from "react";
import type { Kind } from "../../api/kinds";
import type { Mistake } from "../../components/Editor";
import { download, Trouble, Wait } from "../../components/parts";
import { Editor } from "./FileFields";

export function YamlEditor({
  kind,
  value,
  onChange,
  save,
  busy,
  error,
  errors,
  readOnly,
  dirty,
}: {
  kind: Kind;
  value: Record<string, unknown>;
  onChange: (value: Record<string, unknown>) => void;
  save: (body: Record<string, unknown>) => void;
  busy: boolean;
  error: unknown;
  errors: Map<string, string>;
  readOnly: boolean;
  dirty: boolean;
}) {
  const yaml = useQuery({ queryKey: ["yaml"], queryFn: () => import("yaml"), staleTime: Number.POSITIVE_INFINITY });
  const [text, setText] = useState<string | null>(null);
  const module = yaml.data;
  const shown = text ?? module?.stringify({ kind, name: value["name"], ...value }, { lineWidth: 110 }) ?? "";
  const parsed = useMemo(() => {
    if (!module) {
      return null;
    }
    const document = module.parseDocument(shown);
    const mistakes: Mistake[] = document.errors.map((one) => ({
      at: one.pos[0],
      text: one.message.split("\n")[0] ?? "",
    }));
    for (const [pointer, detail] of errors) {
      const path = pointer
        .split("/")
        .slice(1)
        .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
      let range: [number, number, number] | null | undefined;
      for (let depth = path.length; depth > 0 && !range; depth -= 1) {
        const node = document.getIn(path.slice(0, depth), true) as { range?: [number, number, number] } | undefined;
        range = node?.range;
      }
      mistakes.push({ at: range?.[0] ?? 0, text: `${range ? "" : `${pointer}: `}${detail}` });
    }
    return { document, mistakes };
  }, [module, shown, errors]);
  if (!module || !parsed) {
    return <Wait lines={5} />;
  }
  const submit = () => {
    const body = parsed.document.toJS() as Record<string, unknown>;
    const { kind: _kind, ...rest } = body ?? {};
    onChange(rest);
    save(rest);
  };
  return (
    <div className="stack">
      <Suspense fallback={<Wait lines={6} />}>
        <Editor
          label="YAML"
          name="document.yaml"
          value={shown}
          readOnly={readOnly}
          mistakes={parsed.mistakes}
          onChange={(next) => {
            setText(next);
            const document = module.parseDocument(next);
            if (document.errors.length === 0) {
              const { kind: _kind, ...rest } = (document.toJS() ?? {}) as Record<string, unknown>;
              onChange(rest);
            }
          }}
        />
      </Suspense>
      {error !== null && errors.size === 0 && <Trouble error={error} />}
      <div className="row">
        {!readOnly && (
          <Button
            size="sm"
            variant="filled"
            loading={busy}
            disabled={parsed.document.errors.length > 0 || !dirty}
            onClick={submit}
          >
            Save
          </Button>
        )}
        <Button size="sm" onClick={() => download(`${String(value["name"] ?? kind)}.yaml`, shown, "application/yaml")}>
          Download
        </Button>
      </div>
    </div>
  );
}
