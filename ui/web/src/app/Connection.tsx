import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { elsewhere, others, useLive } from "../api/live";
import { peers } from "../api/queries";
import { useSession } from "../api/session";
import { useNow } from "./prefs";

/** Which peer the page comes from, and whether it follows what happens. */
export function Connection() {
  const live = useLive();
  const session = useSession();
  const all = useQuery(peers).data ?? [];
  const here = all.find((peer) => session.phase === "in" && peer.id === session.session.peer);
  const alive = all.filter((peer) => peer.alive).length;
  const tone = live.phase === "live" ? (live.isolated ? "pending" : "ok") : live.phase === "lost" ? "firing" : "idle";
  const words = live.phase === "live" ? "live" : live.phase === "lost" ? "not connected" : "connecting";
  return (
    <Link to="/peers" className="item" title={`This page is ${words}; it comes from peer ${here?.name ?? ""}`}>
      <span className={`dot tone-${tone}`} style={{ margin: "0 4.5px" }} />
      <span>{here?.name ?? "peer"}</span>
      <span className="push small num">
        {words}
        {all.length > 0 && ` · ${alive}/${all.length}`}
      </span>
    </Link>
  );
}

/** Says that the peer does not answer, or stands alone, and where to go on. */
export function Trouble() {
  const live = useLive();
  const now = useNow(1000);
  const session = useSession();
  const all = useQuery(peers).data ?? [];
  const here = all.find((peer) => session.phase === "in" && peer.id === session.session.peer)?.name ?? "This peer";
  if (live.phase !== "lost" && !live.isolated) {
    return null;
  }
  const seconds = Math.max(0, Math.round((now - live.since) / 1000));
  return (
    <div className="banner" role="alert">
      {live.phase === "lost" ? (
        <span>
          <strong>{here} does not answer</strong> since {seconds} s.{" "}
          {live.next ? `Going on with ${live.next.name}…` : "Trying it again, and looking for another peer."}
        </span>
      ) : (
        <span>
          <strong>{here} has lost the others.</strong> What you see may be old, and nothing can be changed here.
        </span>
      )}
      <span className="row">
        {others().map((peer) => (
          <a key={peer.id} className="link" href={elsewhere(peer)}>
            Go on with {peer.name}
          </a>
        ))}
      </span>
    </div>
  );
}
