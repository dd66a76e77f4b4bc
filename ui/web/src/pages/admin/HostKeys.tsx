import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, must, send } from "../../api/client";
import { useMay } from "../../api/session";
import { sayProblem } from "../../app/toast";
import { Confirm } from "../../components/Confirm";
import { Empty, Loaded } from "../../components/parts";

export function HostKeys({ name }: { name: string }) {
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
