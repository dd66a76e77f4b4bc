import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { objects } from "../../api/queries";
import { Icon } from "../../components/Icon";
import { guessedUnit, isCountable, matches, type Row, shownValue, typeText } from "../../lib/mbeans";
import { bytesText } from "../../lib/value";

/** Values longer than this are cut; the title has more of it. */
const CHARS_MAX = 300;
const TITLE_MAX = 4000;

interface Shown {
  row: Row;
  attribute: Schemas["MbeanAttribute"];
}

/** Attributes with their values, the parts of composite ones below them, and the counters that there are of each. */
export function AttributeTable({
  rows,
  place,
  onCount,
}: {
  rows: Shown[];
  place: { node: string; jvm: string; cluster: string; mbean: string };
  onCount: ((row: Row) => void) | null;
}) {
  const counters = (useQuery(objects("counter")).data ?? []).filter(
    (counter) =>
      counter.type === "jmx" &&
      (counter.clusters.includes(place.cluster) || counter.clusters.includes("*")) &&
      matches(counter.mbean ?? "", place.mbean),
  );
  return (
    <div className="card scroll">
      <table className="t fold attributes" aria-label="Attributes">
        <thead>
          <tr>
            <th scope="col">Attribute</th>
            <th scope="col">Value</th>
            <th scope="col">Counter</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ row, attribute }) => {
            const { depth } = row;
            const own = counters.filter((one) => one.attribute === row.attribute && (one.key ?? "") === row.key);
            const name = depth === 0 ? row.attribute : row.part;
            const says = attribute.description !== attribute.name && attribute.description;
            return (
              <tr key={`${row.attribute}/${row.key}`} className={depth > 0 ? "part" : undefined}>
                <td>
                  <div className="cell" style={{ paddingLeft: Math.max(0, depth - 1) * 14 }} title={says || undefined}>
                    <span className={depth === 0 ? "attribute" : "quiet"}>{name}</span>
                    {depth === 0 && <span className="quiet small type">{typeText(attribute.type)}</span>}
                  </div>
                </td>
                <td data-label="Value">
                  <div className="cell">
                    <Value row={row} attribute={attribute} />
                  </div>
                </td>
                <td data-label="Counter" className="tight">
                  <div className="cell">
                    {own.map((counter) => (
                      <Link
                        key={counter.name}
                        className="link"
                        to={`/monitor?cluster=${encodeURIComponent(place.cluster)}&node=${encodeURIComponent(place.node)}&jvm=${encodeURIComponent(place.jvm)}&counter=${encodeURIComponent(counter.name)}&from=-15m`}
                      >
                        {counter.name}
                      </Link>
                    ))}
                    {own.length === 0 && onCount && !attribute.error && isCountable(row.value) && (
                      <Button
                        size="compact-xs"
                        leftSection={<Icon name="plus" size={11} />}
                        aria-label={`Make a counter of ${[row.attribute, row.key].filter(Boolean).join(".")}`}
                        onClick={() => onCount(row)}
                      >
                        Counter
                      </Button>
                    )}
                  </div>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Value({ row, attribute }: Shown) {
  if (attribute.error) {
    return <span className="wrong">{attribute.error}</span>;
  }
  if (!attribute.readable) {
    return <span className="quiet">can only be set</span>;
  }
  if (row.value === undefined) {
    return attribute.value === undefined || attribute.value === null ? <span className="quiet">null</span> : null;
  }
  const text = shownValue(row.value);
  const isNumber = typeof row.value === "number";
  const isBytes = isNumber && guessedUnit(row.attribute, row.key) === "bytes" && Number(row.value) >= 10_240;
  return (
    <span className={isNumber ? "num" : "mono"} title={text.length > CHARS_MAX ? text.slice(0, TITLE_MAX) : undefined}>
      {text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX)}…` : text}
      {isBytes && <span className="quiet small"> {bytesText(Number(row.value))}</span>}
    </span>
  );
}
