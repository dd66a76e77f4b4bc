import { lazy, Suspense } from "react";
import { SchemaForm } from "../../components/form/SchemaForm";
import { Wait } from "../../components/parts";
import type { Field } from "../../lib/schema";

export const Editor = lazy(() => import("../../components/Editor"));

export function FileFields({
  value,
  onChange,
  isNew,
  fields,
  errors,
}: {
  value: Record<string, unknown>;
  onChange: (value: Record<string, unknown>) => void;
  isNew: boolean;
  fields: Field[];
  errors: Map<string, string>;
}) {
  const rest = fields.filter((field) => field.name !== "content" && field.name !== "content_base64");
  const isText = value["content_base64"] === undefined;
  return (
    <>
      <SchemaForm fields={rest} state={{ value, onChange, errors, ...(isNew ? {} : { fixed: new Set(["name"]) }) }} />
      <div className="stack" style={{ gap: 4 }}>
        <span className="label">Content</span>
        {isText ? (
          <Suspense fallback={<Wait lines={4} />}>
            <Editor
              label="Content"
              name={String(value["name"] ?? "")}
              value={String(value["content"] ?? "")}
              onChange={(content) => onChange({ ...value, content })}
            />
          </Suspense>
        ) : (
          <p className="quiet">It is not text. Upload another content, or download it from its versions.</p>
        )}
        {errors.get("/content") && <p style={{ color: "var(--firing)" }}>{errors.get("/content")}</p>}
        <label className="small">
          <span className="quiet">Or take a file of yours: </span>
          <input
            type="file"
            onChange={async (event) => {
              const file = event.currentTarget.files?.[0];
              if (!file) {
                return;
              }
              const bytes = new Uint8Array(await file.arrayBuffer());
              const { content: _c, content_base64: _b, ...others } = value;
              try {
                onChange({ ...others, content: new TextDecoder("utf-8", { fatal: true }).decode(bytes) });
              } catch {
                let binary = "";
                for (let at = 0; at < bytes.length; at += 0x8000) {
                  binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
                }
                onChange({ ...others, content_base64: btoa(binary) });
              }
            }}
          />
        </label>
      </div>
    </>
  );
}
