import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useLocation, useParams, useSearchParams } from "react-router";
import { ApiError } from "../../api/client";
import { type Document, KINDS, kindOfPath } from "../../api/kinds";
import { description, object } from "../../api/queries";
import { Empty, Head, Trouble, Wait } from "../../components/parts";
import { blank, fieldsOf } from "../../lib/schema";
import { ObjectEditor } from "./ObjectEditor";

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
  // What another page has filled in already.
  const given = (useLocation().state as { start?: Record<string, unknown> } | null)?.start;
  const wanted = isNew ? copyOf : name;
  // What is being deleted is not read again, though it is told that it has changed.
  const [deleted, setDeleted] = useState<string | null>(null);
  const enabled = kind !== null && wanted !== null && (isNew || deleted !== name);
  const query = useQuery({ ...object(kind ?? "cluster", wanted ?? ""), enabled });
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
  const start = query.data ? writable(query.data) : { ...blank(fields), ...given };
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
      onDelete={(is) => setDeleted(is ? name : null)}
    />
  );
}
