import { Button } from "@mantine/core";
import { useState } from "react";
import { Link } from "react-router";
import { sayProblem } from "../../app/toast";
import { Icon } from "../../components/Icon";
import { type Group, grouped } from "../../lib/mbeans";
import { countText } from "../../lib/value";
import { ask, type Domain, type Place } from "./useMbeans";

/** Lines of a branch that are shown without being asked for. */
const LINES_MAX = 100;
const MORE = 500;

interface Way {
  chosen: string | null;
  linkTo: (name: string) => string;
}

/** All domains, each with its MBeans by type. */
export function MbeanTree({
  domains,
  place,
  way,
  isOpen,
}: {
  domains: Domain[];
  place: Place;
  way: Way;
  /** Whether all is unfolded, as what was searched for is. */
  isOpen: boolean;
}) {
  return (
    <ul className="tree" aria-label="MBeans">
      {domains.map((domain) => (
        <DomainBranch
          key={`${domain.name}/${isOpen}`}
          domain={domain}
          place={place}
          way={way}
          isOpen={isOpen || domains.length < 4 || (way.chosen?.startsWith(`${domain.name}:`) ?? false)}
        />
      ))}
    </ul>
  );
}

function DomainBranch({ domain, place, way, isOpen }: { domain: Domain; place: Place; way: Way; isOpen: boolean }) {
  const [more, setMore] = useState<string[]>([]);
  const [busy, setBusy] = useState(false);
  const names = [...domain.mbeans.map((mbean) => mbean.name), ...more];
  const read = async () => {
    setBusy(true);
    try {
      const pattern = `${domain.name}:*`;
      const page = await ask(place, { pattern, limit: MORE, cursor: names.toSorted().at(-1) ?? "" });
      setMore([...more, ...page.items.map((mbean) => mbean.name)]);
    } catch (error) {
      sayProblem(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Branch text={domain.name || "(no domain)"} count={domain.count} isOpen={isOpen}>
      {grouped(names).map((group) => (
        <GroupBranch key={group.key} group={group} way={way} isOpen={isOpen} />
      ))}
      {domain.count > names.length && (
        <li className="more">
          <Button size="compact-xs" loading={busy} onClick={() => void read()}>
            {countText(Math.min(MORE, domain.count - names.length))} more of {countText(domain.count)}
          </Button>
        </li>
      )}
    </Branch>
  );
}

function GroupBranch({ group, way, isOpen }: { group: Group; way: Way; isOpen: boolean }) {
  const [shown, setShown] = useState(LINES_MAX);
  const [alone] = group.leaves;
  if (alone && group.leaves.length === 1) {
    const text = alone.text === group.text ? group.text : `${group.text} ${alone.text}`;
    return <LeafLine name={alone.name} text={text} way={way} />;
  }
  const has = group.leaves.some((leaf) => leaf.name === way.chosen);
  return (
    <Branch text={group.text} count={group.leaves.length} isOpen={has || (isOpen && group.leaves.length <= 12)}>
      {group.leaves.slice(0, shown).map((leaf) => (
        <LeafLine key={leaf.name} name={leaf.name} text={leaf.text} way={way} />
      ))}
      {group.leaves.length > shown && (
        <li className="more">
          <Button size="compact-xs" onClick={() => setShown(shown + MORE)}>
            Show {countText(Math.min(MORE, group.leaves.length - shown))} more
          </Button>
        </li>
      )}
    </Branch>
  );
}

function Branch({
  text,
  count,
  isOpen,
  children,
}: {
  text: string;
  count: number;
  isOpen: boolean;
  children: React.ReactNode;
}) {
  const [open, setOpen] = useState(isOpen);
  return (
    <li>
      <button type="button" className="branch" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="right" size={12} />
        <span className="cut">{text}</span>
        <span className="quiet small num push">{countText(count)}</span>
      </button>
      {open && <ul>{children}</ul>}
    </li>
  );
}

function LeafLine({ name, text, way }: { name: string; text: string; way: Way }) {
  return (
    <li>
      <Link className="leaf" to={way.linkTo(name)} title={name} aria-current={name === way.chosen ? "true" : undefined}>
        <span className="cut">{text}</span>
      </Link>
    </li>
  );
}
