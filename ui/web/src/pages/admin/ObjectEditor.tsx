import { Button, Modal } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";
import { ApiError, send } from "../../api/client";
import { type Document, KINDS, type Kind } from "../../api/kinds";
import { useUnsaved } from "../../api/live";
import { client } from "../../api/queries";
import { useMay } from "../../api/session";
import { say, sayProblem } from "../../app/toast";
import { Confirm } from "../../components/Confirm";
import { SchemaForm } from "../../components/form/SchemaForm";
import { Icon } from "../../components/Icon";
import { Head, Trouble, When } from "../../components/parts";
import type { Field } from "../../lib/schema";
import { FileFields } from "./FileFields";
import { HostKeys } from "./HostKeys";
import { writable } from "./ObjectPage";
import { Versions } from "./Versions";
import { YamlEditor } from "./YamlEditor";

/** The ways from a node into its JVMs. */
function JvmLinks({ node, jvms }: { node: string; jvms: string[] }) {
  return jvms.map((jvm) => (
    <Button
      key={jvm}
      component={Link}
      to={`/nodes/${encodeURIComponent(node)}/jvms/${encodeURIComponent(jvm)}`}
      leftSection={<Icon name="jvm" size={14} />}
    >
      {jvm}
    </Button>
  ));
}

export function ObjectEditor({
  kind,
  name,
  fields,
  start,
  saved,
  crumbs,
  title,
  onDelete,
}: {
  kind: Kind;
  name: string;
  fields: Field[];
  start: Record<string, unknown>;
  saved: Document | undefined;
  crumbs: { to: string; text: string }[];
  title: string;
  /** Is called before the object is deleted, and again when that failed. */
  onDelete: (is: boolean) => void;
}) {
  const info = KINDS[kind];
  const may = useMay("admin");
  const mayRun = useMay("operator");
  const navigate = useNavigate();
  const [params, setParams] = useSearchParams();
  const view = params.get("view") ?? (may ? "form" : "yaml");
  const [value, setValue] = useState(start);
  const [version, setVersion] = useState(saved?.version);
  const [shown, setShown] = useState<Document | null>(null);
  const [deleting, setDeleting] = useState(false);
  const dirty = JSON.stringify(value) !== JSON.stringify(start);
  useUnsaved(dirty);
  const moved = saved !== undefined && version !== undefined && saved.version !== version;
  // What somebody else changed is taken over while nothing is changed here.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only a new version matters
  useEffect(() => {
    if (moved && !dirty) {
      setValue(start);
      setVersion(saved?.version);
    }
  }, [saved?.version]);
  const save = useMutation({
    mutationFn: (body: Record<string, unknown>) =>
      saved
        ? send<Document>("PUT", `/api/v1/${info.path}/${encodeURIComponent(name)}`, body, {
            "if-match": `"${version}"`,
          })
        : send<Document>("POST", `/api/v1/${info.path}`, body),
    onSuccess: async (document, sent) => {
      await client.invalidateQueries({ queryKey: [kind] });
      if (kind === "token" && document["token"]) {
        setShown(document);
        return;
      }
      say(`${document.name} is saved.`);
      if (saved) {
        const next = writable(document);
        // What was typed while it was being saved stays.
        setValue((now) => (now !== sent ? now : kind === "file" ? { ...next, content: sent["content"] } : next));
        setVersion(document.version);
      } else {
        void navigate(`/admin/${info.path}/${encodeURIComponent(document.name)}`, { replace: true });
      }
    },
  });
  const error = save.error instanceof ApiError ? save.error : null;
  const errors = useMemo(() => new Map((error?.fields ?? []).map((field) => [field.pointer, field.detail])), [error]);
  const placed = (pointer: string) =>
    fields.some((field) => pointer === `/${field.name}` || pointer.startsWith(`/${field.name}/`));
  const loose = error && !(error.fields.length > 0 && error.fields.every((field) => placed(field.pointer)));
  const setView = (next: string) => setParams(next === "form" ? {} : { view: next }, { replace: true });
  const remove = async () => {
    onDelete(true);
    try {
      await client.cancelQueries({ queryKey: [kind, "one", name] });
      await send(
        "DELETE",
        `/api/v1/${info.path}/${encodeURIComponent(name)}`,
        undefined,
        version ? { "if-match": `"${version}"` } : {},
      );
      say(`${name} is deleted.`);
      void navigate(`/admin/${info.path}`);
    } catch (problem) {
      onDelete(false);
      sayProblem(problem);
    }
  };
  return (
    <>
      <Head
        title={title}
        crumbs={crumbs}
        actions={
          saved && (
            <>
              {kind === "node" && (
                <Button component={Link} to={`/monitor?node=${encodeURIComponent(name)}`}>
                  Graphs
                </Button>
              )}
              {kind === "node" && mayRun && (
                <JvmLinks node={name} jvms={(saved["jvms"] as string[] | undefined) ?? []} />
              )}
              {kind === "trigger" && (
                <Button component={Link} to={`/triggers/${encodeURIComponent(name)}`}>
                  State
                </Button>
              )}
              {kind === "action" && (
                <Button component={Link} to={`/run?action=${encodeURIComponent(name)}`}>
                  Run
                </Button>
              )}
              {may && kind !== "token" && kind !== "secret" && (
                <Button component={Link} to={`/admin/${info.path}/+new?copy=${encodeURIComponent(name)}`}>
                  Copy
                </Button>
              )}
              {may && <Button onClick={() => setDeleting(true)}>Delete</Button>}
            </>
          )
        }
      />
      {moved && dirty && (
        <div className="problem" role="alert">
          Somebody has changed it meanwhile.{" "}
          <button
            type="button"
            className="linkish"
            onClick={() => {
              setValue(start);
              setVersion(saved.version);
            }}
          >
            Take theirs
          </button>{" "}
          or{" "}
          <button type="button" className="linkish" onClick={() => setVersion(saved.version)}>
            keep yours
          </button>
          .
        </div>
      )}
      <div className="tabs" role="tablist" aria-label="How it is shown">
        {[
          ...(may ? [{ key: "form", text: "Form" }] : []),
          { key: "yaml", text: "YAML" },
          ...(kind === "file" && saved ? [{ key: "versions", text: "Versions" }] : []),
          ...(kind === "node" && saved ? [{ key: "keys", text: "Host keys" }] : []),
        ].map((one) => (
          <button
            key={one.key}
            type="button"
            role="tab"
            aria-selected={view === one.key}
            onClick={() => setView(one.key)}
          >
            {one.text}
          </button>
        ))}
      </div>
      {view === "form" && (
        <form
          className="form"
          onSubmit={(event) => {
            event.preventDefault();
            save.mutate(value);
          }}
          noValidate
        >
          {kind === "file" ? (
            <FileFields value={value} onChange={setValue} isNew={!saved} fields={fields} errors={errors} />
          ) : (
            <SchemaForm
              fields={fields}
              state={{ value, onChange: setValue, errors, ...(saved ? { fixed: new Set(["name"]) } : {}) }}
            />
          )}
          {loose && <Trouble error={save.error} />}
          {save.isError && !error && <Trouble error={save.error} />}
          <div className="row">
            <Button
              type="submit"
              size="sm"
              variant="filled"
              loading={save.isPending}
              disabled={!dirty && saved !== undefined}
            >
              {saved ? "Save" : `Make the ${info.one}`}
            </Button>
            {dirty && saved && (
              <Button size="sm" onClick={() => setValue(start)}>
                Undo all
              </Button>
            )}
            {saved && (
              <span className="quiet small">
                version {version}, changed <When at={saved.updated} />
              </span>
            )}
          </div>
        </form>
      )}
      {view === "yaml" && (
        <YamlEditor
          kind={kind}
          value={value}
          onChange={setValue}
          save={(body) => save.mutate(body)}
          busy={save.isPending}
          error={save.error}
          errors={errors}
          readOnly={!may}
          dirty={dirty || !saved}
        />
      )}
      {view === "versions" && <Versions name={name} />}
      {view === "keys" && <HostKeys name={name} />}
      <Confirm
        open={deleting}
        title={`Delete ${name}?`}
        text={`The ${info.one} goes, on all peers. What still refers to it is told, and then nothing is deleted.`}
        verb="Delete"
        onClose={() => setDeleting(false)}
        onYes={remove}
      />
      <Modal
        opened={shown !== null}
        onClose={() => void navigate(`/admin/${info.path}`)}
        title={`Token ${shown?.name}`}
      >
        <div className="stack">
          <p>This is the only time that it is shown. Only its hash is kept.</p>
          <pre className="block" tabIndex={0}>
            {String(shown?.["token"] ?? "")}
          </pre>
          <div>
            <Button
              variant="filled"
              onClick={() =>
                void navigator.clipboard?.writeText(String(shown?.["token"] ?? "")).then(() => say("Copied."))
              }
            >
              Copy
            </Button>
          </div>
        </div>
      </Modal>
    </>
  );
}
