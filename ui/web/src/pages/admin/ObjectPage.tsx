import { useQuery } from "@tanstack/react-query";
import { useParams, useSearchParams } from "react-router";
import { ApiError, send } from "../../api/client";
import { type Document, KINDS, kindOfPath } from "../../api/kinds";
import { object } from "../../api/queries";
import { Empty, Head, Trouble, Wait } from "../../components/parts";
import { blank, fieldsOf, type Schema } from "../../lib/schema";
import { ObjectEditor } from "./ObjectEditor";

export const description = {
  queryKey: ["openapi"],
  queryFn: () => send<{ components: { schemas: Record<string, Schema> } }>("GET", "/api/openapi.json"),
  staleTime: Number.POSITIVE_INFINITY,
};

const META = new Set(["version", "created", "updated", "kind", "bytes", "sha256"]);

/** A document without what only the API writes. */
export function writable(document: Document): Record<string, unknown> {
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
