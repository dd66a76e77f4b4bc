import { useQuery } from "@tanstack/react-query";
import { Link, NavLink, useLocation, useSearchParams } from "react-router";
import { objects, triggerState } from "../api/queries";
import { Icon } from "../components/Icon";
import type { Place } from "./places";

export function Item({ place, onGo }: { place: Place; onGo: () => void }) {
  return (
    <NavLink to={place.to} end={place.to === "/"} className="item" onClick={onGo}>
      <Icon name={place.icon} />
      {place.text}
    </NavLink>
  );
}

/** A cluster in the navigation, with how its triggers stand. */
function ClusterItem({ name, triggers, onGo }: { name: string; triggers: string[]; onGo: () => void }) {
  const first = useQuery({ ...triggerState(triggers[0] ?? ""), enabled: triggers[0] !== undefined });
  const second = useQuery({ ...triggerState(triggers[1] ?? ""), enabled: triggers[1] !== undefined });
  const states = [first.data?.state, second.data?.state];
  const tone = states.includes("firing") ? "firing" : states.includes("pending") ? "pending" : "ok";
  const [params] = useSearchParams();
  const { pathname } = useLocation();
  const here = pathname === "/monitor" && params.get("cluster") === name;
  return (
    <Link
      to={`/monitor?cluster=${encodeURIComponent(name)}`}
      className="item"
      onClick={onGo}
      aria-current={here ? "page" : undefined}
    >
      <span className={`dot tone-${triggers.length > 0 ? tone : "idle"}`} style={{ margin: "0 4.5px" }} />
      <span className="cut">{name}</span>
      {tone !== "ok" && triggers.length > 0 && <span className="sr">{tone}</span>}
    </Link>
  );
}

/** The first clusters, with how they stand. */
export function Clusters({ onGo }: { onGo: () => void }) {
  const clusters = useQuery(objects("cluster")).data ?? [];
  const triggers = useQuery(objects("trigger")).data ?? [];
  if (clusters.length === 0) {
    return null;
  }
  return (
    <>
      <h2>Clusters</h2>
      {clusters.slice(0, 12).map((cluster) => (
        <ClusterItem
          key={cluster.name}
          name={cluster.name}
          triggers={triggers
            .filter((one) => one.cluster === cluster.name && one.enabled !== false)
            .map((one) => one.name)}
          onGo={onGo}
        />
      ))}
      {clusters.length > 12 && (
        <Link to="/admin/clusters" className="item" onClick={onGo}>
          {clusters.length - 12} more
        </Link>
      )}
    </>
  );
}
