import { Button, Menu, Modal, Select, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { Link, useNavigate, useParams, useSearchParams } from "react-router";
import { ApiError, api, must, type Schemas, send } from "../api/client";
import { type Document, KINDS, type Kind, kindOfPath } from "../api/kinds";
import { useUnsaved } from "../api/live";
import { client, object, objects, page, peers, settings } from "../api/queries";
import { currentSession, useMay } from "../api/session";
import { Confirm } from "../app/Shell";
import { say, sayProblem } from "../app/toast";
import type { Mistake } from "../components/Editor";
import { Icon } from "../components/Icon";
import { type Column, Table } from "../components/Lists";
import { Badge, download, Empty, Head, Loaded, Section, Trouble, Wait, When, Words } from "../components/parts";
import { SchemaForm } from "../components/SchemaForm";
import { toPointer } from "../lib/pointer";
import { blank, type Field, fieldsOf, type Schema } from "../lib/schema";
import { bytesText, countText, plural } from "../lib/value";
import { eventTone } from "./Overview";

const Editor = lazy(() => import("../components/Editor"));

const GROUPS: { title: string; kinds: Kind[] }[] = [
  { title: "What is watched", kinds: ["cluster", "node", "counter"] },
  { title: "What is done", kinds: ["trigger", "action", "maintenance-window"] },
  { title: "How hosts are reached", kinds: ["ssh-profile", "file", "secret"] },
  { title: "Who may", kinds: ["user", "token"] },
];

export function Admin() {
  const may = useMay("admin");
  return (
    <>
      <Head title="Administration" actions={may && <ApplyButton />} />
      <div className="columns even">
        {GROUPS.map((group) => (
          <Section key={group.title} title={group.title}>
            <div className="card">
              {group.kinds.map((kind) => (
                <KindRow key={kind} kind={kind} />
              ))}
            </div>
          </Section>
        ))}
        <Section title="The control plane">
          <div className="card">
            {[
              { to: "/admin/settings", text: "Settings", more: "how long samples are kept" },
              { to: "/peers", text: "Peers", more: "join, promote, remove, backup" },
              { to: "/events", text: "Events", more: "who did what" },
            ].map((one) => (
              <Link key={one.to} to={one.to} className="kind">
                <span>{one.text}</span>
                <span className="quiet small push">{one.more}</span>
              </Link>
            ))}
          </div>
        </Section>
      </div>
    </>
  );
}

function isSession(document: Document): boolean {
  return Object.keys(document.labels ?? {}).some((label) => label === "rscaler/login" || label === "rscaler/session");
}

function KindRow({ kind }: { kind: Kind }) {
  const query = useQuery(objects(kind));
  const items = (query.data ?? []) as unknown as Document[];
  const count = items.filter((one) => kind !== "token" || !isSession(one)).length;
  return (
    <Link to={`/admin/${KINDS[kind].path}`} className="kind">
      <span>{KINDS[kind].title}</span>
      <span className="quiet num push">{query.data ? countText(count) : ""}</span>
    </Link>
  );
}

/** What tells an object from the others of its kind, beside its name. */
const COLUMNS: Partial<Record<Kind, Column<Document>[]>> = {
  node: [
    {
      title: "Cluster",
      cell: (one) => <Link to={`/monitor?cluster=${one["cluster"]}`}>{String(one["cluster"])}</Link>,
    },
    {
      title: "Host",
      cell: (one) => <span className="mono">{`${one["hostname"]}${one["port"] ? `:${one["port"]}` : ""}`}</span>,
    },
    { title: "SSH profile", cell: (one) => String(one["ssh_profile"] ?? "–") },
  ],
  counter: [
    { title: "Type", cell: (one) => String(one["type"]) },
    { title: "Every", cell: (one) => String(one["interval"] ?? "10s") },
    { title: "On", cell: (one) => (one["clusters"] as string[]).join(", ") },
    {
      title: "Script",
      cell: (one) =>
        typeof one["script"] === "string" ? <code className="small">{one["script"].slice(0, 80)}</code> : null,
    },
  ],
  trigger: [
    { title: "Cluster", cell: (one) => String(one["cluster"]) },
    { title: "Enabled", cell: (one) => (one["enabled"] === false ? "no" : "yes") },
  ],
  action: [
    { title: "Type", cell: (one) => String(one["type"]) },
    {
      title: "Script",
      cell: (one) =>
        typeof one["script"] === "string" ? <code className="small">{one["script"].slice(0, 80)}</code> : null,
    },
  ],
  "maintenance-window": [
    { title: "Keeps still", cell: (one) => String(one["node"] ?? one["cluster"]) },
    { title: "From", cell: (one) => <When at={one["from"] as string} as="moment" /> },
    { title: "To", cell: (one) => <When at={one["to"] as string} as="moment" /> },
  ],
  "ssh-profile": [
    { title: "User", cell: (one) => String(one["user"]) },
    {
      title: "Host keys",
      cell: (one) => (typeof one["host_key"] === "object" ? "pinned" : String(one["host_key"] ?? "strict")),
    },
  ],
  file: [{ title: "Size", number: true, cell: (one) => bytesText(Number(one["bytes"] ?? 0)) }],
  user: [{ title: "Role", cell: (one) => String(one["role"]) }],
  token: [
    { title: "Role", cell: (one) => String(one["role"]) },
    { title: "Ends", cell: (one) => (one["expires"] ? <When at={one["expires"] as string} /> : "never") },
  ],
};

export function Objects() {
  const kind = kindOfPath(useParams().kind);
  return kind ? <ObjectList kind={kind} /> : <Empty title="There is no such kind." />;
}

function ObjectList({ kind }: { kind: Kind }) {
  const query = useQuery(objects(kind));
  const may = useMay("admin");
  const [params, setParams] = useSearchParams();
  const filter = params.get("filter") ?? "";
  const { title, one, path } = KINDS[kind];
  const sessions = params.get("sessions") === "true";
  const items = ((query.data ?? []) as unknown as Document[]).filter(
    (item) =>
      (kind !== "token" || isSession(item) === sessions) &&
      `${item.name} ${item.description ?? ""} ${item["cluster"] ?? ""} ${item["hostname"] ?? ""}`
        .toLowerCase()
        .includes(filter.toLowerCase()),
  );
  return (
    <>
      <Head
        title={title}
        crumbs={[{ to: "/admin", text: "Administration" }]}
        actions={
          may && (
            <Button
              component={Link}
              to={`/admin/${path}/+new`}
              variant="filled"
              leftSection={<Icon name="plus" size={14} />}
            >
              New {one}
            </Button>
          )
        }
      />
      <div className="bar">
        <TextInput
          size="xs"
          w={220}
          aria-label="Filter"
          placeholder={`${title} like…`}
          value={filter}
          onChange={(event) =>
            setParams(event.currentTarget.value ? { filter: event.currentTarget.value } : {}, { replace: true })
          }
        />
        {kind === "token" && (
          <Button onClick={() => setParams(sessions ? {} : { sessions: "true" })}>
            {sessions ? "Tokens" : "Who is logged in"}
          </Button>
        )}
        <span className="quiet small push">{query.data && plural(items.length, one)}</span>
      </div>
      <Loaded query={query as typeof query & { data: unknown }} lines={8}>
        {() =>
          items.length === 0 ? (
            <Empty title={filter ? "None is like that." : `There is no ${one} yet.`}>
              {may && !filter && <Link to={`/admin/${path}/+new`}>Make the first one</Link>}
            </Empty>
          ) : (
            <Table
              label={title}
              items={items}
              id={(item) => item.name}
              columns={[
                {
                  title: "Name",
                  cell: (item) => (
                    <>
                      <Link to={`/admin/${path}/${encodeURIComponent(item.name)}`}>{item.name}</Link>
                      {item.description && <div className="desc">{item.description}</div>}
                    </>
                  ),
                },
                ...(COLUMNS[kind] ?? []),
                {
                  title: "Labels",
                  cell: (item) =>
                    Object.entries(item.labels ?? {})
                      .filter(([key]) => key !== "rscaler/password")
                      .map(([key, value]) => (
                        <span key={key} className="tag">
                          {key}={value}
                        </span>
                      )),
                },
                { title: "Changed", tight: true, cell: (item) => <When at={item.updated} /> },
              ]}
            />
          )
        }
      </Loaded>
    </>
  );
}

const description = {
  queryKey: ["openapi"],
  queryFn: () => send<{ components: { schemas: Record<string, Schema> } }>("GET", "/api/openapi.json"),
  staleTime: Number.POSITIVE_INFINITY,
};

const META = new Set(["version", "created", "updated", "kind", "bytes", "sha256"]);

/** A document without what only the API writes. */
function writable(document: Document): Record<string, unknown> {
  return Object.fromEntries(Object.entries(document).filter(([key, value]) => !META.has(key) && value !== null));
}

export function ObjectPage() {
  const { kind: path, name = "" } = useParams();
  const kind = kindOfPath(path);
  const isNew = name === "+new";
  const [params] = useSearchParams();
  const copyOf = params.get("copy");
  const wanted = isNew ? copyOf : name;
  const query = useQuery({ ...object(kind ?? "cluster", wanted ?? ""), enabled: kind !== null && wanted !== null });
  const schema = useQuery(description);
  if (!kind) {
    return <Empty title="There is no such kind." />;
  }
  const info = KINDS[kind];
  const crumbs = [
    { to: "/admin", text: "Administration" },
    { to: `/admin/${info.path}`, text: info.title },
  ];
  const title = isNew ? `New ${info.one}` : name;
  const failed = query.isError ? query.error : schema.isError ? schema.error : null;
  if (failed || !schema.data || (wanted !== null && !query.data)) {
    return (
      <>
        <Head title={title} crumbs={crumbs} />
        {failed instanceof ApiError && failed.status === 404 ? (
          <Empty title={`There is no ${info.one} ${name}, or not any more.`} />
        ) : failed ? (
          <Trouble error={failed} />
        ) : (
          <Wait lines={6} />
        )}
      </>
    );
  }
  const all = schema.data.components.schemas;
  const fields = fieldsOf(all[info.schema] ?? {}, all);
  const start = query.data ? writable(query.data) : blank(fields);
  if (isNew && copyOf) {
    delete start["name"];
  }
  return (
    <ObjectEditor
      key={`${kind}/${name}`}
      kind={kind}
      name={name}
      fields={fields}
      start={start}
      saved={isNew ? undefined : query.data}
      crumbs={crumbs}
      title={title}
    />
  );
}

function ObjectEditor({
  kind,
  name,
  fields,
  start,
  saved,
  crumbs,
  title,
}: {
  kind: Kind;
  name: string;
  fields: Field[];
  start: Record<string, unknown>;
  saved: Document | undefined;
  crumbs: { to: string; text: string }[];
  title: string;
}) {
  const info = KINDS[kind];
  const may = useMay("admin");
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
    onSuccess: async (document) => {
      await client.invalidateQueries({ queryKey: [kind] });
      if (kind === "token" && document["token"]) {
        setShown(document);
        return;
      }
      say(`${document.name} is saved.`);
      if (saved) {
        const next = writable(document);
        setValue(kind === "file" ? { ...next, content: value["content"] } : next);
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
    try {
      await send(
        "DELETE",
        `/api/v1/${info.path}/${encodeURIComponent(name)}`,
        undefined,
        version ? { "if-match": `"${version}"` } : {},
      );
      say(`${name} is deleted.`);
      void navigate(`/admin/${info.path}`);
    } catch (problem) {
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

function FileFields({
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

function YamlEditor({
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

function Versions({ name }: { name: string }) {
  const query = useQuery({
    queryKey: ["file", "versions", name],
    queryFn: () => page<Schemas["FileVersion"]>(`/api/v1/files/${encodeURIComponent(name)}/versions`, {}, 200),
  });
  const [open, setOpen] = useState<number | null>(null);
  const content = useQuery({
    queryKey: ["file", "content", name, open],
    queryFn: () => send<string>("GET", `/api/v1/files/${encodeURIComponent(name)}/content?version=${open}`),
    enabled: open !== null,
  });
  return (
    <Loaded query={query}>
      {({ items }) => (
        <>
          <Table
            label="Versions"
            items={items}
            id={(one) => one.version}
            columns={[
              { title: "Version", cell: (one) => <span className="num">{one.version}</span> },
              { title: "Put", cell: (one) => <When at={one.at} as="moment" /> },
              { title: "Size", number: true, cell: (one) => bytesText(one.bytes) },
              { title: "SHA-256", cell: (one) => <code className="small">{one.sha256.slice(0, 16)}…</code> },
              {
                title: "Content",
                tight: true,
                cell: (one) => (
                  <span className="row tight nowrap">
                    <Button size="compact-xs" onClick={() => setOpen(open === one.version ? null : one.version)}>
                      {open === one.version ? "Close" : "Show"}
                    </Button>
                    <Button
                      size="compact-xs"
                      component="a"
                      href={`/api/v1/files/${encodeURIComponent(name)}/content?version=${one.version}`}
                      download={`${name}.v${one.version}`}
                    >
                      Download
                    </Button>
                  </span>
                ),
              },
            ]}
          />
          {open !== null && (
            <Loaded query={content}>
              {(text) => (
                <pre className="block" tabIndex={0} style={{ maxHeight: 420 }}>
                  {text}
                </pre>
              )}
            </Loaded>
          )}
        </>
      )}
    </Loaded>
  );
}

function HostKeys({ name }: { name: string }) {
  const may = useMay("admin");
  const [asking, setAsking] = useState(false);
  const query = useQuery({
    queryKey: ["host-keys", name],
    queryFn: () => must(api.GET("/api/v1/nodes/{name}/host-keys", { params: { path: { name } } })),
    staleTime: 0,
  });
  return (
    <Loaded query={query}>
      {({ keys }) => (
        <div className="stack">
          {keys.length === 0 ? (
            <Empty title="No key is recorded yet." />
          ) : (
            keys.map((key) => (
              <pre key={key} className="block" tabIndex={0}>
                {key}
              </pre>
            ))
          )}
          {may && keys.length > 0 && (
            <div>
              <Button onClick={() => setAsking(true)}>Forget them</Button>
            </div>
          )}
          <Confirm
            open={asking}
            title={`Forget the host keys of ${name}?`}
            text="The next key that the host shows is trusted, where its SSH profile accepts new ones. Do this after a host was installed anew."
            verb="Forget"
            onClose={() => setAsking(false)}
            onYes={async () => {
              await send("DELETE", `/api/v1/nodes/${encodeURIComponent(name)}/host-keys`).catch(sayProblem);
              await query.refetch();
            }}
          />
        </div>
      )}
    </Loaded>
  );
}

/** Many documents at once, after a look at what they would change. */
function ApplyButton() {
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

const EVENT_TYPES = [
  "created",
  "updated",
  "deleted",
  "trigger-fired",
  "trigger-recovered",
  "trigger-silenced",
  "run-started",
  "run-finished",
  "task-lost",
  "peer-joined",
  "peer-changed",
  "peer-removed",
  "host-key",
];

export function Events() {
  const [params, setParams] = useSearchParams();
  const filter = Object.fromEntries(
    ["type", "actor", "object", "name"].map((key) => [key, params.get(key) ?? undefined]),
  );
  const query = useInfiniteQuery({
    queryKey: ["event", "all", filter],
    queryFn: ({ pageParam }) => page<Schemas["Event"]>("/api/v1/events", filter, 100, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next ?? undefined,
    placeholderData: keepPreviousData,
  });
  const set = (key: string, value: string | null) =>
    setParams(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) {
          next.set(key, value);
        } else {
          next.delete(key);
        }
        return next;
      },
      { replace: true },
    );
  const items = query.data?.pages.flatMap((one) => one.items) ?? [];
  return (
    <>
      <Head title="Events" />
      <div className="bar">
        <Select
          size="xs"
          w={170}
          aria-label="What happened"
          placeholder="What happened"
          clearable
          searchable
          data={EVENT_TYPES}
          value={filter["type"] ?? null}
          onChange={(value) => set("type", value)}
        />
        <Select
          size="xs"
          w={170}
          aria-label="Kind of object"
          placeholder="To what kind"
          clearable
          data={Object.keys(KINDS)}
          value={filter["object"] ?? null}
          onChange={(value) => set("object", value)}
        />
        <TextInput
          size="xs"
          w={150}
          aria-label="Name"
          placeholder="Name"
          defaultValue={filter["name"] ?? ""}
          onBlur={(event) => set("name", event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && set("name", event.currentTarget.value)}
        />
        <TextInput
          size="xs"
          w={150}
          aria-label="By whom"
          placeholder="By whom: user/ada"
          defaultValue={filter["actor"] ?? ""}
          onBlur={(event) => set("actor", event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && set("actor", event.currentTarget.value)}
        />
      </div>
      {query.isError ? (
        <Trouble error={query.error} />
      ) : !query.data ? (
        <Wait lines={8} />
      ) : items.length === 0 ? (
        <Empty title="No event is like that." />
      ) : (
        <>
          <Table
            label="Events"
            items={items}
            id={(event) => event.id}
            columns={[
              { title: "When", tight: true, cell: (event) => <When at={event.at} as="moment" /> },
              {
                title: "What happened",
                cell: (event) => (
                  <>
                    <span className={`dot tone-${eventTone(event)}`} style={{ marginRight: 8 }} />
                    <Words text={event.message} />
                  </>
                ),
              },
              { title: "Type", tight: true, cell: (event) => <span className="tag">{event.type}</span> },
              { title: "By", tight: true, cell: (event) => <span className="quiet">{event.actor}</span> },
              {
                title: "See",
                tight: true,
                cell: (event) =>
                  event.run ? (
                    <Link to={`/runs/${event.run}`}>Run {event.run}</Link>
                  ) : event.object && event.name && event.object in KINDS && event.type !== "deleted" ? (
                    <Link to={`/admin/${KINDS[event.object as Kind].path}/${event.name}`}>{event.name}</Link>
                  ) : null,
              },
            ]}
          />
          {query.hasNextPage && (
            <p>
              <Button loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                Show more
              </Button>
            </p>
          )}
        </>
      )}
    </>
  );
}

export function Peers() {
  const query = useQuery(peers);
  const may = useMay("admin");
  const [removing, setRemoving] = useState<Schemas["Peer"] | null>(null);
  const [token, setToken] = useState<Schemas["IssuedToken"] | null>(null);
  const act = async (work: Promise<unknown>, done: string) => {
    try {
      await work;
      say(done);
      await query.refetch();
    } catch (error) {
      sayProblem(error);
    }
  };
  const join = async (role: "voter" | "learner") => {
    try {
      setToken(
        await must(
          api.POST("/api/v1/peers/join-tokens", {
            params: {},
            body: { role, ttl: null } as unknown as Schemas["JoinToken"],
          }),
        ),
      );
    } catch (error) {
      sayProblem(error);
    }
  };
  const leader = query.data?.find((peer) => peer.role === "leader");
  return (
    <>
      <Head
        title="Peers"
        actions={
          may && (
            <>
              <Button
                component="a"
                href="/api/v1/backup"
                download="rscaler.backup"
                leftSection={<Icon name="download" size={14} />}
              >
                Backup
              </Button>
              <Menu position="bottom-end">
                <Menu.Target>
                  <Button leftSection={<Icon name="plus" size={14} />}>Let a peer join</Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item onClick={() => void join("voter")}>As a voter</Menu.Item>
                  <Menu.Item onClick={() => void join("learner")}>As a learner, which does not vote</Menu.Item>
                </Menu.Dropdown>
              </Menu>
            </>
          )
        }
      />
      <Loaded query={query}>
        {(all) => (
          <Table
            label="Peers"
            items={all}
            id={(peer) => peer.id}
            columns={[
              {
                title: "Peer",
                cell: (peer) => (
                  <>
                    <span className="row tight">
                      <span className={`dot tone-${peer.alive ? "ok" : "firing"}`} />
                      <strong>{peer.name}</strong>
                      {currentSession()?.peer === peer.id && <span className="tag">this page</span>}
                    </span>
                    {!peer.alive && <div className="desc">silent</div>}
                  </>
                ),
              },
              {
                title: "Role",
                cell: (peer) => (
                  <>
                    <Badge state={peer.role} bare />
                    {peer.role !== "leader" && peer.wanted_role !== peer.role && (
                      <div className="desc">becomes {peer.wanted_role}</div>
                    )}
                  </>
                ),
              },
              {
                title: "API",
                cell: (peer) => (
                  <a className="mono" href={peer.api}>
                    {peer.api.replace(/^https?:\/\//, "")}
                  </a>
                ),
              },
              { title: "Term", number: true, cell: (peer) => peer.term },
              { title: "Applied", number: true, cell: (peer) => (peer.applied ? countText(peer.applied) : "–") },
              {
                title: "Behind by",
                number: true,
                cell: (peer) => (peer.lag === null || peer.lag === undefined ? "–" : countText(peer.lag)),
              },
              { title: "Nodes", number: true, cell: (peer) => peer.nodes },
              { title: "Tasks", number: true, cell: (peer) => <Link to={`/tasks?peer=${peer.id}`}>{peer.tasks}</Link> },
              { title: "Version", cell: (peer) => peer.version },
              {
                title: "Joined",
                tight: true,
                cell: (peer) => <When at={peer.joined} />,
              },
              ...(may
                ? [
                    {
                      title: "Do",
                      tight: true,
                      cell: (peer: Schemas["Peer"]) => (
                        <Menu position="bottom-end">
                          <Menu.Target>
                            <Button size="compact-xs" aria-label={`Do something with ${peer.name}`}>
                              …
                            </Button>
                          </Menu.Target>
                          <Menu.Dropdown>
                            {peer.role === "voter" && peer.alive && (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    must(api.POST("/api/v1/peers/leader", { params: {}, body: { to: peer.id } })),
                                    `${peer.name} leads.`,
                                  )
                                }
                              >
                                Make it the leader
                              </Menu.Item>
                            )}
                            {peer.wanted_role === "learner" ? (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    send("POST", `/api/v1/peers/${peer.id}/promote`),
                                    `${peer.name} becomes a voter.`,
                                  )
                                }
                              >
                                Promote to voter
                              </Menu.Item>
                            ) : (
                              <Menu.Item
                                onClick={() =>
                                  void act(
                                    send("POST", `/api/v1/peers/${peer.id}/demote`),
                                    `${peer.name} becomes a learner.`,
                                  )
                                }
                              >
                                Demote to learner
                              </Menu.Item>
                            )}
                            <Menu.Item color="red" onClick={() => setRemoving(peer)}>
                              Remove…
                            </Menu.Item>
                          </Menu.Dropdown>
                        </Menu>
                      ),
                    },
                  ]
                : []),
            ]}
          />
        )}
      </Loaded>
      <Confirm
        open={removing !== null}
        title={`Remove ${removing?.name}?`}
        text="It takes no part any more, and its data is of no use. A machine that comes back joins with a new token."
        verb="Remove"
        onClose={() => setRemoving(null)}
        onYes={() => act(send("DELETE", `/api/v1/peers/${removing?.id}`), `${removing?.name} is removed.`)}
      />
      <Modal opened={token !== null} onClose={() => setToken(null)} title="On the machine of the new peer" size="lg">
        <div className="stack">
          <p>The token works once. Give the machine its own addresses:</p>
          <pre
            className="block"
            tabIndex={0}
          >{`rscaler server --data-dir /var/lib/rscaler --api HOST:7700 --peer HOST:7701 --join ${leader?.peer ?? "PEER"} --join-token ${token?.token}`}</pre>
          <p className="quiet small">
            It ends <When at={token?.expires} />.
          </p>
        </div>
      </Modal>
    </>
  );
}
