import { ActionIcon, Button, Menu, Modal, useMantineColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate, useSearchParams } from "react-router";
import { elsewhere, others, useLive, useLiveUpdates } from "../api/live";
import { objects, peers, triggerState } from "../api/queries";
import { logOut, useMay, useSession } from "../api/session";
import { Brand, Icon, type IconName } from "../components/Icon";
import { plural } from "../lib/value";
import { Finder } from "./Finder";
import { setPrefs, useNow, usePrefs } from "./prefs";

interface Place {
  to: string;
  text: string;
  icon: IconName;
  key: string;
}

const PLACES: Place[] = [
  { to: "/", text: "Overview", icon: "overview", key: "o" },
  { to: "/monitor", text: "Monitoring", icon: "monitor", key: "m" },
  { to: "/triggers", text: "Triggers", icon: "trigger", key: "t" },
  { to: "/runs", text: "Runs", icon: "runs", key: "r" },
  { to: "/outputs", text: "Outputs", icon: "outputs", key: "u" },
];

const MORE: Place[] = [
  { to: "/admin", text: "Administration", icon: "admin", key: "a" },
  { to: "/peers", text: "Peers", icon: "peers", key: "p" },
  { to: "/events", text: "Events", icon: "events", key: "e" },
];

const KEYS: [string, string][] = [
  ["/", "search everything"],
  ["c", "run a command"],
  ["?", "this list"],
  ["Esc", "close what is open"],
  ["← →", "on a graph: pan"],
  ["+ −", "on a graph: zoom; Esc goes back"],
];

function Item({ place, onGo }: { place: Place; onGo: () => void }) {
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

function Clusters({ onGo }: { onGo: () => void }) {
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

function Connection() {
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

function Trouble() {
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

function UserMenu() {
  const session = useSession();
  const { zone } = usePrefs();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  if (session.phase !== "in") {
    return null;
  }
  const who = session.session.actor.split("/")[1] ?? "";
  return (
    <Menu position="top-start" width={220}>
      <Menu.Target>
        <button type="button" className="item">
          <Icon name="user" />
          <span className="cut">{who}</span>
          <span className="push small">{session.session.role}</span>
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Times</Menu.Label>
        {(["local", "utc"] as const).map((one) => (
          <Menu.Item
            key={one}
            closeMenuOnClick={false}
            rightSection={zone === one && <Icon name="check" />}
            onClick={() => setPrefs({ zone: one })}
          >
            {one === "local" ? `Local (${Intl.DateTimeFormat().resolvedOptions().timeZone})` : "UTC"}
          </Menu.Item>
        ))}
        <Menu.Label>Appearance</Menu.Label>
        {(["auto", "light", "dark"] as const).map((one) => (
          <Menu.Item
            key={one}
            closeMenuOnClick={false}
            rightSection={colorScheme === one && <Icon name="check" />}
            onClick={() => setColorScheme(one)}
          >
            {{ auto: "As the system", light: "Light", dark: "Dark" }[one]}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item component="a" href="/api/docs">
          The API, to be read
        </Menu.Item>
        <Menu.Item onClick={() => void logOut()}>Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** How long after `g` the second key may come. */
const CHORD_MS = 1500;

function useKeys(find: () => void, help: () => void): void {
  const navigate = useNavigate();
  const chord = useRef(0);
  const mayRun = useMay("operator");
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (event.metaKey && event.key === "k") {
        event.preventDefault();
        find();
        return;
      }
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) {
        return;
      }
      if (Date.now() - chord.current < CHORD_MS) {
        const place = [...PLACES, ...MORE].find((one) => one.key === event.key);
        chord.current = 0;
        if (place) {
          event.preventDefault();
          void navigate(place.to);
          return;
        }
      }
      if (event.key === "g") {
        chord.current = Date.now();
      } else if (event.key === "/") {
        event.preventDefault();
        find();
      } else if (event.key === "?") {
        help();
      } else if (event.key === "c" && mayRun) {
        void navigate("/run");
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [find, help, navigate, mayRun]);
}

export function Shell() {
  useLiveUpdates();
  const [open, setOpen] = useState(false);
  const [finding, setFinding] = useState(false);
  const [helping, setHelping] = useState(false);
  const mayRun = useMay("operator");
  const { pathname } = useLocation();
  const first = useRef(true);
  useKeys(
    () => setFinding(true),
    () => setHelping(true),
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new page begins at its top
  useEffect(() => {
    if (!first.current) {
      scrollTo(0, 0);
      document.getElementById("content")?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [pathname]);
  const close = () => setOpen(false);
  return (
    <div className="frame">
      <a href="#content" className="skip">
        To the content
      </a>
      <div className="topbar">
        <ActionIcon aria-label="Menu" aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name={open ? "close" : "menu"} />
        </ActionIcon>
        <Brand />
        <ActionIcon className="push" aria-label="Search" onClick={() => setFinding(true)}>
          <Icon name="search" />
        </ActionIcon>
      </div>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a click beside the menu closes it; the button does, too */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: Escape and the button do */}
      {open && <div className="veil" onClick={close} />}
      <nav className={open ? "side open" : "side"} aria-label="Main">
        <Link to="/" onClick={close} aria-label="rscaler, overview">
          <Brand />
        </Link>
        <button type="button" className="item" onClick={() => setFinding(true)}>
          <Icon name="search" />
          Search
          <kbd>/</kbd>
        </button>
        {mayRun && (
          <Link to="/run" className="item" onClick={close}>
            <Icon name="run" />
            Run a command
            <kbd>c</kbd>
          </Link>
        )}
        <h2>Watch</h2>
        {PLACES.map((place) => (
          <Item key={place.to} place={place} onGo={close} />
        ))}
        <Clusters onGo={close} />
        <h2>Manage</h2>
        {MORE.map((place) => (
          <Item key={place.to} place={place} onGo={close} />
        ))}
        <div className="foot">
          <Connection />
          <UserMenu />
        </div>
      </nav>
      <div>
        <Trouble />
        <main id="content" tabIndex={-1} style={{ outline: "none" }}>
          <Outlet />
        </main>
      </div>
      <Finder open={finding} onClose={() => setFinding(false)} />
      <Modal opened={helping} onClose={() => setHelping(false)} title="Keys" size="sm">
        <dl className="facts" style={{ gridTemplateColumns: "90px 1fr" }}>
          {KEYS.map(([key, what]) => (
            <div key={key} style={{ display: "contents" }}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
          {[...PLACES, ...MORE].map((place) => (
            <div key={place.to} style={{ display: "contents" }}>
              <dt>
                <kbd>g</kbd> <kbd>{place.key}</kbd>
              </dt>
              <dd>{place.text}</dd>
            </div>
          ))}
        </dl>
      </Modal>
    </div>
  );
}

/** For pages whose buttons ask once more. */
export function Confirm({
  open,
  title,
  text,
  verb,
  onClose,
  onYes,
}: {
  open: boolean;
  title: string;
  text: string;
  verb: string;
  onClose: () => void;
  onYes: () => Promise<unknown>;
}) {
  const [busy, setBusy] = useState(false);
  return (
    <Modal opened={open} onClose={onClose} title={title} size="sm">
      <div className="stack">
        <p>{text}</p>
        <div className="row">
          <Button
            variant="filled"
            data-danger
            loading={busy}
            onClick={() => {
              setBusy(true);
              void onYes().finally(() => {
                setBusy(false);
                onClose();
              });
            }}
          >
            {verb}
          </Button>
          <Button onClick={onClose}>Leave it</Button>
        </div>
      </div>
    </Modal>
  );
}

/** `3 nodes in 1 cluster`, for places that count what there is. */
export function countWords(nodes: number, clusters: number): string {
  return `${plural(nodes, "node")} in ${plural(clusters, "cluster")}`;
}
