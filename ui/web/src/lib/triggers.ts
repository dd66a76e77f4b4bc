import type { Schemas } from "../api/client";
import { parseSpan, spanText } from "./time";
import { valueText } from "./value";

type Trigger = Schemas["Trigger"];
type Event = Schemas["Event"];

/** `load1 > 2.5 for 10 s on each series`: what a trigger waits for, in words. */
export function conditionText(trigger: Trigger, units: Record<string, string> = {}): string {
  const one = (condition: Schemas["Condition"]) => {
    const instance = condition.instance ? `{${condition.instance}}` : "";
    const threshold = valueText(condition.threshold, units[condition.counter] ?? "");
    return `${condition.counter}${instance} ${condition.op} ${threshold}`;
  };
  const all = trigger.when.map(one).join(trigger.match === "all" ? " and " : " or ");
  const span = parseSpan(trigger.for ?? "0s") ?? 0;
  const over = trigger.aggregate && trigger.aggregate !== "each" ? `${trigger.aggregate} of ` : "";
  return `${over}${all}${span > 0 ? ` for ${spanText(span)}` : ""}`;
}

export interface Past {
  from: number;
  to: number;
  state: "pending" | "firing";
  node: string | null;
}

/**
 * When a trigger fired and recovered, from its events (newest first, as the API lists them), and the time of `for` before
 * each firing. What fires still reaches to `now`.
 */
export function bandsOf(trigger: Trigger, events: readonly Event[], now: number): Past[] {
  const held = parseSpan(trigger.for ?? "0s") ?? 0;
  const open = new Map<string, number>();
  const bands: Past[] = [];
  for (const event of [...events].reverse()) {
    if (event.name !== trigger.name) {
      continue;
    }
    const at = Date.parse(event.at);
    const node = trigger.per === "node" ? (event.evidence?.[0]?.node ?? nodeIn(event.message) ?? "") : "";
    if (event.type === "trigger-fired") {
      open.set(node, at);
      if (held > 0) {
        bands.push({ from: at - held, to: at, state: "pending", node: node || null });
      }
    } else if (event.type === "trigger-recovered") {
      const from = open.get(node);
      if (from !== undefined) {
        bands.push({ from, to: at, state: "firing", node: node || null });
        open.delete(node);
      }
    }
  }
  for (const [node, from] of open) {
    bands.push({ from, to: now, state: "firing", node: node || null });
  }
  return bands;
}

function nodeIn(message: string): string | null {
  return /node `([^`]+)`/.exec(message)?.[1] ?? null;
}

/** Words for why a series has no data. */
export function failureText(code: string): string {
  const words: Record<string, string> = {
    unreachable: "the host cannot be reached",
    "host-key": "the host shows another key than the one recorded",
    authentication: "the host refuses the login",
    "timed-out": "the script took longer than its timeout",
    exit: "the script failed",
    parse: "the output is not what the counter expects",
    "too-much-output": "the script printed too much",
    configuration: "the counter, or how its node is reached, is not configured right",
  };
  return words[code] ?? code;
}
