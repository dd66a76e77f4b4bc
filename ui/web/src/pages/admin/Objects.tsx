import { Button, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { type Document, KINDS, type Kind, kindOfPath } from "../../api/kinds";
import { objects } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { type Column, Table } from "../../components/Lists";
import { Empty, Head, Loaded, When } from "../../components/parts";
import { bytesText, plural } from "../../lib/value";

export function isSession(document: Document): boolean {
  return Object.keys(document.labels ?? {}).some((label) => label === "rscaler/login" || label === "rscaler/session");
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
  "jvm-profile": [
    {
      title: "Where",
      cell: (one) => <span className="mono">{String(one["url"] ?? `port ${one["port"] ?? ""}`)}</span>,
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
