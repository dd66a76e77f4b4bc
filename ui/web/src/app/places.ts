import type { IconName } from "../components/Icon";

/** An area of the page, and its key after `g`. */
export interface Place {
  to: string;
  text: string;
  icon: IconName;
  key: string;
}

export const PLACES: Place[] = [
  { to: "/", text: "Overview", icon: "overview", key: "o" },
  { to: "/monitor", text: "Monitoring", icon: "monitor", key: "m" },
  { to: "/triggers", text: "Triggers", icon: "trigger", key: "t" },
  { to: "/runs", text: "Runs", icon: "runs", key: "r" },
  { to: "/outputs", text: "Outputs", icon: "outputs", key: "u" },
];

export const MORE: Place[] = [
  { to: "/admin", text: "Administration", icon: "admin", key: "a" },
  { to: "/peers", text: "Peers", icon: "peers", key: "p" },
  { to: "/events", text: "Events", icon: "events", key: "e" },
];

export const KEYS: [string, string][] = [
  ["/", "search everything"],
  ["c", "run a command"],
  ["?", "this list"],
  ["Esc", "close what is open"],
  ["← →", "on a graph: pan"],
  ["+ −", "on a graph: zoom; Esc goes back"],
];
