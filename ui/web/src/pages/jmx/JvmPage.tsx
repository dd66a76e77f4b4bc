import { Button, Select, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate, useParams } from "react-router";
import { objects } from "../../api/queries";
import { useMay } from "../../api/session";
import { Icon } from "../../components/Icon";
import { Empty, Head, Loaded, Trouble, Wait } from "../../components/parts";
import { useQueryString } from "../../components/useQueryString";
import { plural } from "../../lib/value";
import { MbeanPanel } from "./MbeanPanel";
import { MbeanTree } from "./MbeanTree";
import { type Domain, found, type Place, treeOf } from "./useMbeans";

/** What a JVM offers: its MBeans, with their values and operations. */
export function JvmPage() {
  const { node = "", jvm = "" } = useParams();
  const may = useMay("operator");
  const nodes = useQuery(objects("node"));
  const navigate = useNavigate();
  const here = nodes.data?.find((one) => one.name === node);
  const others = (nodes.data ?? [])
    .filter((one) => one.cluster === here?.cluster)
    .flatMap((one) => (one.jvms ?? []).map((name) => `${one.name} / ${name}`));
  const head = (
    <Head
      title={jvm}
      crumbs={[{ to: `/monitor?node=${encodeURIComponent(node)}`, text: node }]}
      actions={
        <>
          {others.length > 1 && (
            <Select
              size="xs"
              w={190}
              aria-label="JVM"
              searchable
              data={others}
              value={`${node} / ${jvm}`}
              onChange={(value) => {
                const [other = "", its = ""] = (value ?? "").split(" / ");
                void navigate(jvmPath({ node: other, jvm: its }));
              }}
            />
          )}
          <GraphsButton place={{ node, jvm }} />
        </>
      }
    />
  );
  if (!may) {
    return (
      <>
        {head}
        <Empty title="You may watch its graphs, and not look into the JVM.">
          What it says of itself may hold passwords that it was given. It takes the role of an operator.
        </Empty>
      </>
    );
  }
  if (nodes.data && !here?.jvms?.includes(jvm)) {
    return (
      <>
        {head}
        <Empty title={here ? `There is no JVM ${jvm} on ${node}.` : `There is no node ${node}.`}>
          The JVMs of a node are named in its field “JVMs”, each by its profile.
        </Empty>
      </>
    );
  }
  return (
    <>
      {head}
      <Browser key={`${node}/${jvm}`} place={{ node, jvm }} />
    </>
  );
}

export function jvmPath({ node, jvm }: Place): string {
  return `/nodes/${encodeURIComponent(node)}/jvms/${encodeURIComponent(jvm)}`;
}

function GraphsButton({ place: { node, jvm } }: { place: Place }) {
  const navigate = useNavigate();
  const to = `/monitor?node=${encodeURIComponent(node)}&jvm=${encodeURIComponent(jvm)}`;
  return (
    <Button leftSection={<Icon name="monitor" size={14} />} onClick={() => void navigate(to)}>
      Graphs
    </Button>
  );
}

/** What of the domains has these words in a name, an attribute or an operation. */
function narrowed(domains: Domain[], typed: string): Domain[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    return domains;
  }
  return domains
    .map((domain) => {
      const mbeans = domain.mbeans.filter((mbean) => {
        const members = [...mbean.attributes, ...mbean.operations].map((member) => member.name);
        const all = [mbean.name, ...members].join(" ").toLowerCase();
        return words.every((word) => all.includes(word));
      });
      return { ...domain, mbeans, count: mbeans.length };
    })
    .filter((domain) => domain.mbeans.length > 0);
}

const TYPED_MS = 250;

function Browser({ place }: { place: Place }) {
  const { params, change } = useQueryString();
  const search = params.get("search") ?? "";
  const chosen = params.get("mbean");
  const [typed, setTyped] = useState(search);
  useEffect(() => setTyped(search), [search]);
  useEffect(() => {
    const timer = setTimeout(() => typed !== search && change({ search: typed }, true), TYPED_MS);
    return () => clearTimeout(timer);
  }, [typed, search, change]);
  const tree = useQuery(treeOf(place));
  // A pattern is the JVM's to answer, and so is what was not read to its end.
  const isPattern = /^[^:]*:.+/.test(search.trim());
  const beyond = useQuery({
    ...found(place, search),
    enabled: search.trim() !== "" && (isPattern || tree.data?.isWhole === false),
  });
  const domainsOf = (): Domain[] => {
    const own = tree.data?.domains ?? [];
    const more = beyond.data?.mbeans ?? [];
    const known = isPattern ? [] : narrowed(own, search);
    const all = new Map(known.map((domain) => [domain.name, { ...domain, mbeans: [...domain.mbeans] }]));
    for (const mbean of search.trim() ? more : []) {
      const domain = all.get(mbean.domain) ?? { name: mbean.domain, mbeans: [], count: 0 };
      if (!domain.mbeans.some((one) => one.name === mbean.name)) {
        domain.mbeans.push(mbean);
        domain.count += 1;
      }
      all.set(mbean.domain, domain);
    }
    return [...all.values()];
  };
  const linkTo = (name: string) => {
    const next = new URLSearchParams(params);
    next.set("mbean", name);
    return `?${next}`;
  };
  return (
    <div className={chosen ? "jmx chosen" : "jmx"}>
      <nav className="card" aria-label="MBeans of the JVM">
        <div className="find">
          <TextInput
            size="xs"
            aria-label="Search MBeans"
            placeholder="Search, or a pattern: java.lang:*"
            value={typed}
            onChange={(event) => setTyped(event.currentTarget.value)}
          />
        </div>
        {beyond.isError && <Trouble error={beyond.error} />}
        <Loaded query={tree} lines={9}>
          {({ matched }) => {
            const domains = domainsOf();
            const isBusy = beyond.isFetching && !beyond.data;
            return (
              <>
                {domains.length > 0 ? (
                  <MbeanTree domains={domains} place={place} way={{ chosen, linkTo }} isOpen={search !== ""} />
                ) : isBusy ? (
                  <Wait lines={3} />
                ) : (
                  <p className="quiet pad">No MBean, attribute or operation is called so.</p>
                )}
                <p className="quiet small count">
                  {search
                    ? `${plural(
                        domains.reduce((sum, domain) => sum + domain.count, 0),
                        "MBean",
                      )}${beyond.data?.isCut ? ", and more" : ""} of ${plural(matched, "MBean").split(" ")[0]}`
                    : plural(matched, "MBean")}
                </p>
              </>
            );
          }}
        </Loaded>
      </nav>
      <div className="what">
        {chosen ? (
          <MbeanPanel key={chosen} place={place} name={chosen} onClose={() => change({ mbean: null })} />
        ) : (
          !tree.isError && (
            <Empty title="Pick an MBean.">
              Its attributes are read every few seconds while you look at them. Numbers become counters with one click.
            </Empty>
          )
        )}
      </div>
    </div>
  );
}
