import { useQuery } from "@tanstack/react-query";
import { checks } from "../../api/queries";
import { Words } from "../../components/parts";
import { failureText } from "../../lib/triggers";
import type { Context } from "./view";

/** Why a counter has no data, in words. */
export function WhyNot({ counter, context }: { counter: string; context: Context }) {
  const query = useQuery(checks({ counter, cluster: context.cluster }));
  const own = (query.data ?? []).filter((check) => !context.node || check.node === context.node);
  const bad = own.filter((check) => !check.ok);
  if (!query.data) {
    return null;
  }
  if (own.length === 0) {
    return <p className="quiet small">It has not been read yet, or is fed by pushed samples alone.</p>;
  }
  if (bad.length === 0) {
    return <p className="quiet small">Its last readings went well; there is just nothing from this time.</p>;
  }
  return (
    <ul className="small">
      {bad.slice(0, 3).map((check) => (
        <li key={check.node}>
          <strong>{check.node}</strong>: {failureText(check.failure?.code ?? "")}.{" "}
          <span className="quiet">
            <Words text={check.failure?.detail ?? ""} />
          </span>
        </li>
      ))}
    </ul>
  );
}
