import type { Schemas } from "../../api/client";
import { parseSpan } from "../../lib/time";

export type Trigger = Schemas["Trigger"];

type Subject = Schemas["TriggerSubject"];

export function heldPart(trigger: Trigger, subject: Subject): number {
  const whole = parseSpan(trigger.for ?? "0s") ?? 0;
  return whole > 0 ? Math.min(1, (parseSpan(subject.held) ?? 0) / whole) : subject.state === "ok" ? 0 : 1;
}

export function unitsOf(counters: Schemas["Counter"][]): Record<string, string> {
  return Object.fromEntries(counters.map((one) => [one.name, one.unit ?? ""]));
}
