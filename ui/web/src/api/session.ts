import { useSyncExternalStore } from "react";
import { ApiError, api, must, type Role, type Schemas, setCsrf } from "./client";

type Session = Schemas["Session"];
type State = { phase: "asking" } | { phase: "out"; why?: string } | { phase: "in"; session: Session };

let state: State = { phase: "asking" };
const listeners = new Set<() => void>();

/**
 * Says that this browser has a session, for all peers of this host: the session's own cookie cannot be seen from here, and
 * asking without one would be refused.
 */
const HINT = "rscaler_logged_in";

function hint(): boolean {
  return document.cookie.split("; ").some((cookie) => cookie === `${HINT}=1`);
}

function setHint(has: boolean): void {
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not everywhere, nor without TLS
  document.cookie = `${HINT}=1; Path=/; SameSite=Strict; Max-Age=${has ? 30 * 86_400 : 0}`;
}

function become(next: State): void {
  state = next;
  if (next.phase !== "asking") {
    setHint(next.phase === "in");
  }
  setCsrf(next.phase === "in" ? (next.session.csrf ?? "") : "");
  for (const listener of listeners) {
    listener();
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Who is logged in, as far as is known. */
export function useSession(): State {
  return useSyncExternalStore(subscribe, () => state);
}

export function currentSession(): Session | null {
  return state.phase === "in" ? state.session : null;
}

const RANKS: Role[] = ["viewer", "operator", "admin"];

export function hasRole(role: Role | undefined, wanted: Role): boolean {
  return role !== undefined && RANKS.indexOf(role) >= RANKS.indexOf(wanted);
}

/** Whether who is logged in may do what takes this role. What they may not is not offered. */
export function useMay(wanted: Role): boolean {
  const now = useSession();
  return now.phase === "in" && hasRole(now.session.role, wanted);
}

const TICKET = "#ticket=";

/** Finds out whether there is a session: the cookie's, or one that a ticket from another peer gives. */
export async function resume(): Promise<void> {
  const ticket = location.hash.startsWith(TICKET) ? decodeURIComponent(location.hash.slice(TICKET.length)) : null;
  if (ticket) {
    history.replaceState(history.state, "", location.pathname + location.search);
  }
  while (hint()) {
    try {
      become({ phase: "in", session: await must(api.GET("/api/v1/session")) });
      return;
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) {
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  if (ticket) {
    try {
      return await logIn({ ticket });
    } catch {
      // The log-in page follows.
    }
  }
  become({ phase: "out" });
}

export async function logIn(body: Partial<Schemas["NewSession"]>): Promise<void> {
  const session = await must(api.POST("/api/v1/session", { body: body as Schemas["NewSession"] }));
  become({ phase: "in", session });
}

export async function logOut(): Promise<void> {
  await must(api.POST("/api/v1/logout")).catch(() => {});
  become({ phase: "out" });
}

/** The session has ended by itself, or somebody ended it. */
export function ended(): void {
  if (state.phase === "in") {
    become({ phase: "out", why: "Your session has ended." });
  }
}

const REFRESH_MS = 5 * 60_000;
setInterval(() => {
  if (state.phase === "in" && document.visibilityState === "visible") {
    api
      .GET("/api/v1/session")
      .then(({ data, response }) => {
        if (data) {
          become({ phase: "in", session: data });
        } else if (response.status === 401) {
          ended();
        }
      })
      .catch(() => {});
  }
}, REFRESH_MS);
