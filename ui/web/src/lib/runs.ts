import type { Schemas } from "../api/client";

type Run = Schemas["Run"];

/** What a run does, in a few words. */
export function stepText(run: Run): string {
  const words: Record<string, string> = { command: "a command", "jmx-invoke": "an operation" };
  const names = run.steps.map((step) => step.action ?? words[step.type] ?? step.type);
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}

/** Why a run was started, in words. */
export function causeText(cause: Schemas["Cause"]): string {
  const actor = cause.actor?.split("/").pop();
  switch (cause.type) {
    case "trigger":
      return `${cause.trigger} fired`;
    case "execute":
      return `${actor ?? "somebody"} executed ${cause.trigger}`;
    default:
      return actor ?? cause.type;
  }
}

export function tasksOf(run: Run): { total: number; ended: number; failed: number } {
  return run.steps.reduce(
    (sum, step) => ({
      total: sum.total + step.tasks.length,
      ended: sum.ended + step.ended,
      failed: sum.failed + step.failed,
    }),
    { total: 0, ended: 0, failed: 0 },
  );
}

const FINAL = new Set(["succeeded", "failed", "cancelled", "timed-out", "lost"]);

export function hasEnded(state: string): boolean {
  return FINAL.has(state);
}

export function duration(begin: string | null | undefined, end: string | null | undefined, now: number): number | null {
  return begin ? (end ? Date.parse(end) : now) - Date.parse(begin) : null;
}
