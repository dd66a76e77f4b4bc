import { useEffect, useState, useSyncExternalStore } from "react";
import type { Zone } from "../lib/time";

/** What somebody prefers, kept in their browser. */
interface Prefs {
  zone: Zone;
}

const PLACE = "rscaler.prefs";

function load(): Prefs {
  try {
    return { zone: "local", ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") };
  } catch {
    return { zone: "local" };
  }
}

let prefs = load();
const listeners = new Set<() => void>();

export function setPrefs(change: Partial<Prefs>): void {
  prefs = { ...prefs, ...change };
  try {
    localStorage.setItem(PLACE, JSON.stringify(prefs));
  } catch {
    // It holds until the page is closed.
  }
  for (const listener of listeners) {
    listener();
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function usePrefs(): Prefs {
  return useSyncExternalStore(subscribe, () => prefs);
}

/** Now, told anew every `every` ms. */
export function useNow(every = 5000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
