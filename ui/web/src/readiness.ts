/** Whether a peer can serve, as far as one can see from here. */
export type Readiness = "ready" | "unready" | "silent";

const PATIENCE_MS = 5000;

/** Asks the peer that this page came from. */
export async function isReady(): Promise<Readiness> {
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return answer.ok ? "ready" : "unready";
  } catch {
    return "silent";
  }
}
