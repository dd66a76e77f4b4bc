import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { type Document, KINDS, type Kind } from "../../api/kinds";
import { objects } from "../../api/queries";
import { useMay } from "../../api/session";
import { Head, Section } from "../../components/parts";
import { countText } from "../../lib/value";
import { ApplyButton } from "./Apply";
import { isSession } from "./Objects";

const GROUPS: { title: string; kinds: Kind[] }[] = [
  { title: "What is watched", kinds: ["cluster", "node", "counter"] },
  { title: "What is done", kinds: ["trigger", "action", "maintenance-window"] },
  { title: "How hosts are reached", kinds: ["ssh-profile", "jvm-profile", "file", "secret"] },
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
