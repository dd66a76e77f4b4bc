import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { Empty, toneOf, When, Words } from "../../components/parts";

/** Somebody who logs in or out is no news. */
export function isLogin(event: Schemas["Event"]): boolean {
  return event.object === "token" && (event.name?.startsWith("login-") ?? false);
}

/** What happened, newest first. */
export function Feed({ items }: { items: Schemas["Event"][] }) {
  if (items.length === 0) {
    return <Empty title="Nothing has happened yet." />;
  }
  return (
    <ul className="feed">
      {items.map((event) => (
        <li key={event.id}>
          <When at={event.at} />
          <p>
            <span className={`dot tone-${eventTone(event)}`} style={{ marginRight: 7 }} />
            {event.run ? (
              <Link to={`/runs/${event.run}`}>
                <Words text={event.message} />
              </Link>
            ) : (
              <Words text={event.message} />
            )}
            {/^(user|token)\//.test(event.actor) && <span className="quiet"> · {event.actor.split("/").pop()}</span>}
          </p>
        </li>
      ))}
    </ul>
  );
}

export function eventTone(event: Schemas["Event"]): string {
  if (event.type === "trigger-fired" || event.type === "task-lost" || event.type === "peer-removed") {
    return "firing";
  }
  if (event.type === "trigger-recovered") {
    return "ok";
  }
  if (event.type === "run-finished") {
    return /succe/.test(event.message) ? "ok" : toneOf(/cancel/.test(event.message) ? "cancelled" : "failed");
  }
  return event.type.startsWith("run-") ? "busy" : "idle";
}
