import type { Schemas } from "../api/client";

type Run = Schemas["Run"];

const WORDS: Record<string, string> = { command: "a command", "jmx-invoke": "an operation" };

/** What a step does, or a task of it: its action, or what was given with the run. */
export function doneText({ action, type }: { action?: string | null; type: string }): string {
  return action ?? WORDS[type] ?? type;
}

/** What a run does, in a few words. */
export function stepText(run: Run): string {
  const names = run.steps.map(doneText);
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
