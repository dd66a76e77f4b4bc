import type { Schemas } from "../../api/client";

export type Trigger = Schemas["Trigger"];

type TriggerState = Schemas["TriggerState"];

/** The worst that a node has: a firing trigger, a check that fails, or nothing. */
export function nodeTones(
  states: TriggerState[],
  failing: Schemas["Check"][],
): Map<string, { tone: string; why: string }> {
  const tones = new Map<string, { tone: string; why: string }>();
  for (const check of failing) {
    tones.set(check.node, { tone: "pending", why: `${check.counter}: ${check.failure?.detail ?? "no data"}` });
  }
  for (const state of states) {
    for (const subject of state.subjects) {
      if (subject.node && (subject.state === "pending" || subject.state === "firing")) {
        const before = tones.get(subject.node);
        if (before?.tone !== "firing") {
          tones.set(subject.node, { tone: subject.state, why: `${state.trigger} is ${subject.state}` });
        }
      }
    }
  }
  return tones;
}

/** What stands for a cluster's load: a counter of that name or unit, or what its first trigger watches. */
export function mainCounter(cluster: string, counters: Schemas["Counter"][], triggers: Trigger[]) {
  const own = counters.filter((one) => one.clusters.includes(cluster) || one.clusters.includes("*"));
  const watched = triggers.find((one) => one.cluster === cluster)?.when[0]?.counter;
  return own.find((one) => one.unit === "load") ?? own.find((one) => one.name === watched) ?? own[0];
}
