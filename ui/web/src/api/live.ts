import { useEffect, useSyncExternalStore } from "react";
import { SseParser } from "../lib/sse";
import type { Schemas } from "./client";
import { KINDS } from "./kinds";
import { client, peers } from "./queries";
import { currentSession, ended } from "./session";

/**
 * What happens on any peer, as it happens: one stream, whose events make what has changed be read again. When the peer falls
 * silent the page says so, and goes on at another peer that says it is ready.
 */
type Peer = Schemas["Peer"];
type Changes = Schemas["Changes"];

export interface Live {
  phase: "joining" | "live" | "lost";
  /** Since when it is lost. */
  since: number;
  /** The peer that is about to take over. */
  next: Peer | null;
  /** The peer answers, and has no contact with the others. */
  isolated: boolean;
}

let state: Live = { phase: "joining", since: Date.now(), next: null, isolated: false };
const listeners = new Set<() => void>();

function become(change: Partial<Live>): void {
  state = { ...state, ...change };
  for (const listener of listeners) {
    listener();
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useLive(): Live {
  return useSyncExternalStore(subscribe, () => state);
}

/** Forms with changes that would be lost: while there are some, the page does not leave by itself. */
let unsaved = 0;

export function useUnsaved(dirty: boolean): void {
  useEffect(() => {
    if (!dirty) {
      return;
    }
    unsaved += 1;
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => {
      unsaved -= 1;
      removeEventListener("beforeunload", warn);
    };
  }, [dirty]);
}

/** Those who want to hear of each piece of output. */
let followers = 0;

export function useFollowing(follows: boolean): void {
  useEffect(() => {
    if (!follows) {
      return;
    }
    followers += 1;
    if (followers === 1) {
      restart();
    }
    return () => {
      followers -= 1;
    };
  }, [follows]);
}

const HEARTBEAT_MS = 21_000;
const TOGETHER_MS = 120;
const GIVE_UP_MS = 2500;
const HIDDEN_MS = 30_000;

let last: string | null = null;
let stream: AbortController | null = null;
let running = false;
let generation = 0;
const due = new Map<string, unknown[]>();
let timer: ReturnType<typeof setTimeout> | null = null;

/** What has to be read again because of a change. */
export function keysOf(change: Schemas["Change"]): unknown[][] {
  const { kind, name, id } = change;
  if (kind === "*") {
    return [[]];
  }
  if (kind in KINDS) {
    return [
      [kind, "list"],
      [kind, "one", name],
    ];
  }
  switch (kind) {
    case "run":
      return [
        ["run", "list"],
        ["run", "one", id],
      ];
    case "task":
      return [
        ["task", "list"],
        ["task", "one", id],
        ["output", id],
      ];
    case "output":
      return [["output", id]];
    case "trigger-state":
      return [["trigger-state", name]];
    case "check":
      return [["check"]];
    case "peer":
    case "session":
      return [["peer"]];
    case "event":
      return [["event"]];
    default:
      return [];
  }
}

function read(keys: unknown[][]): void {
  for (const key of keys) {
    due.set(JSON.stringify(key), key);
  }
  if (timer !== null) {
    return;
  }
  timer = setTimeout(() => {
    timer = null;
    const now = [...due.values()];
    due.clear();
    for (const queryKey of now) {
      void client.invalidateQueries({ queryKey }, { cancelRefetch: true });
    }
  }, TOGETHER_MS);
}

async function follow(signal: AbortSignal): Promise<void> {
  const usual = [...Object.keys(KINDS), "run", "task", "assignment", "host-keys", "session", "peer", "check"];
  const kinds = [...usual, "trigger-state", "event", ...(followers > 0 ? ["output"] : [])];
  const response = await fetch(`/api/v1/watch?kinds=${kinds.join(",")}`, {
    signal,
    headers: last === null ? {} : { "last-event-id": last },
  });
  if (response.status === 401) {
    ended();
    return;
  }
  if (!response.ok || !response.body) {
    throw new Error(`status ${response.status}`);
  }
  if (state.phase !== "live") {
    const was = state.phase;
    become({ phase: "live", since: Date.now(), next: null });
    if (was === "lost" && last === null) {
      read([[]]);
    }
  }
  const parser = new SseParser();
  const text = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const quiet = setTimeout(() => stream?.abort("silent"), HEARTBEAT_MS);
    const { done, value } = await reader.read().finally(() => clearTimeout(quiet));
    if (done) {
      return;
    }
    for (const event of parser.push(text.decode(value, { stream: true }))) {
      last = event.id ?? last;
      read(event.name === "reset" ? [[]] : (JSON.parse(event.data) as Changes).changes.flatMap(keysOf));
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function keepFollowing(mine: number): Promise<void> {
  let failures = 0;
  while (running && mine === generation) {
    const control = new AbortController();
    stream = control;
    const began = Date.now();
    try {
      await follow(control.signal);
    } catch {
      if (!running || mine !== generation) {
        return;
      }
      if (control.signal.reason === "again") {
        continue;
      }
    }
    if (!running || mine !== generation || currentSession() === null) {
      return;
    }
    if (Date.now() - began > 5000) {
      failures = 0;
    }
    failures += 1;
    if (failures > 1 && state.phase !== "lost") {
      become({ phase: "lost", since: Date.now() });
    }
    if (state.phase === "lost" && Date.now() - state.since > GIVE_UP_MS) {
      await goOn();
    }
    await sleep(Math.min(3000, 250 * failures));
  }
}

/** The stream once more, with what is wanted now. */
function restart(): void {
  stream?.abort("again");
}

/** Where a peer has this very page. */
export function elsewhere(peer: Peer): string {
  const url = new URL(peer.api);
  const ticket = currentSession()?.ticket;
  // Cookies are those of a host, whatever the port.
  const hash = url.hostname === location.hostname || !ticket ? "" : `#ticket=${encodeURIComponent(ticket)}`;
  return `${url.origin}${location.pathname}${location.search}${hash}`;
}

/** The other peers, as far as they were known. */
export function others(): Peer[] {
  const known = client.getQueryData(peers.queryKey) ?? [];
  const here = currentSession()?.peer;
  return known.filter((peer) => peer.id !== here && peer.api !== location.origin);
}

async function goOn(): Promise<void> {
  const asked = others().map(async (peer) => {
    const response = await fetch(`${peer.api}/readyz`, { signal: AbortSignal.timeout(2000), credentials: "omit" });
    if (!response.ok) {
      throw new Error("not ready");
    }
    return peer;
  });
  const ready = await Promise.any(asked).catch(() => null);
  if (!ready || state.phase !== "lost" || import.meta.env.DEV) {
    return;
  }
  become({ next: ready });
  if (unsaved === 0) {
    location.assign(elsewhere(ready));
  }
}

function start(): void {
  if (!running) {
    running = true;
    generation += 1;
    void keepFollowing(generation);
  }
}

function stop(): void {
  running = false;
  generation += 1;
  stream?.abort("stopped");
}

const READY_EVERY_MS = 5000;

/** Follows changes while the page is logged in, and in sight: browsers keep few connections for all tabs of a peer. */
export function useLiveUpdates(): void {
  useEffect(() => {
    void client.prefetchQuery(peers);
    start();
    let hiding: ReturnType<typeof setTimeout> | null = null;
    const look = () => {
      if (hiding) {
        clearTimeout(hiding);
        hiding = null;
      }
      if (document.visibilityState === "visible") {
        start();
      } else {
        hiding = setTimeout(stop, HIDDEN_MS);
      }
    };
    document.addEventListener("visibilitychange", look);
    const probing = setInterval(async () => {
      if (state.phase === "live" && document.visibilityState === "visible") {
        const response = await fetch("/readyz", { signal: AbortSignal.timeout(4000) }).catch(() => null);
        if (response) {
          become({ isolated: response.status === 503 });
        }
      }
    }, READY_EVERY_MS);
    return () => {
      document.removeEventListener("visibilitychange", look);
      clearInterval(probing);
      stop();
    };
  }, []);
}
