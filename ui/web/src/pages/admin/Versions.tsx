import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { type Schemas, send } from "../../api/client";
import { page } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Loaded, When } from "../../components/parts";
import { bytesText } from "../../lib/value";

export function Versions({ name }: { name: string }) {
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
