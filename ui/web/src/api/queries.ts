import { QueryClient, queryOptions } from "@tanstack/react-query";
import { type Range, resolve, stepFor } from "../lib/range";
import type { Schema } from "../lib/schema";
import { apiSpan } from "../lib/time";
import { ApiError, all, api, must, type Schemas, send } from "./client";
import { type Document, KINDS, type Kind, type Objects } from "./kinds";

/**
 * What is read from the API. The first word of a key is the word that `/api/v1/watch` uses for what has changed: `live.ts`
 * makes those read again.
 */
export const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What is watched is told when it changes; what comes back to the front is read again all the same.
      staleTime: 15_000,
      gcTime: 120_000,
      refetchOnWindowFocus: true,
      retry: (failures, error) => failures < 2 && error instanceof ApiError && [0, 429, 503].includes(error.status),
      retryDelay: (failures) => 400 * 2 ** failures,
    },
  },
});

export function objects<K extends Kind>(kind: K) {
  return queryOptions({
    queryKey: [kind, "list"],
    queryFn: () => all<Objects[K]>(`/api/v1/${KINDS[kind].path}`),
  });
}

export function object(kind: Kind, name: string) {
  return queryOptions({
    queryKey: [kind, "one", name],
    queryFn: () => send<Document>("GET", `/api/v1/${KINDS[kind].path}/${encodeURIComponent(name)}`),
  });
}

export const peers = queryOptions({
  queryKey: ["peer", "list"],
  queryFn: () => all<Schemas["Peer"]>("/api/v1/peers"),
  refetchInterval: 4000,
});

export const settings = queryOptions({
  queryKey: ["settings"],
  queryFn: () => must(api.GET("/api/v1/settings")),
});

export function events(filter: Record<string, string | undefined> = {}, limit = 50) {
  return queryOptions({
    queryKey: ["event", filter, limit],
    queryFn: () => page<Schemas["Event"]>("/api/v1/events", filter, limit),
  });
}

/** One page of a list. */
export async function page<T>(
  path: string,
  filter: Record<string, string | undefined>,
  limit: number,
  cursor?: string,
) {
  const search = new URLSearchParams({ limit: String(limit) });
  for (const [key, value] of Object.entries({ ...filter, cursor })) {
    if (value) {
      search.set(key, value);
    }
  }
  return send<{ items: T[]; next: string | null }>("GET", `${path}?${search}`);
}

export function triggerState(name: string) {
  return queryOptions({
    queryKey: ["trigger-state", name],
    queryFn: () => must(api.GET("/api/v1/triggers/{name}/state", { params: { path: { name } } })),
    // Values go on between changes of state.
    refetchInterval: 10_000,
  });
}

export function checks(filter: { cluster?: string; counter?: string; search?: string; failing?: string } = {}) {
  return queryOptions({
    queryKey: ["check", "list", filter],
    queryFn: () => all<Schemas["Check"]>("/api/v1/checks", filter),
    refetchInterval: 15_000,
  });
}

export function nodeChecks(node: string) {
  return queryOptions({
    queryKey: ["check", "node", node],
    queryFn: () => all<Schemas["Check"]>(`/api/v1/nodes/${encodeURIComponent(node)}/checks`),
    refetchInterval: 15_000,
  });
}

export function runs(filter: Record<string, string | undefined> = {}, limit = 50) {
  return queryOptions({
    queryKey: ["run", "list", filter, limit],
    queryFn: () => page<Schemas["Run"]>("/api/v1/runs", filter, limit),
  });
}

export function run(id: number) {
  return queryOptions({
    queryKey: ["run", "one", id],
    queryFn: () => must(api.GET("/api/v1/runs/{id}", { params: { path: { id } } })),
  });
}

export function tasks(filter: Record<string, string | undefined> = {}, limit = 100) {
  return queryOptions({
    queryKey: ["task", "list", filter, limit],
    queryFn: () => page<Schemas["Task"]>("/api/v1/tasks", filter, limit),
  });
}

export function task(id: number) {
  return queryOptions({
    queryKey: ["task", "one", id],
    queryFn: () => must(api.GET("/api/v1/tasks/{id}", { params: { path: { id } } })),
  });
}

/** Points a graph is made of at most, by series. */
export const POINTS_MAX = 800;

export interface SamplesWanted {
  counter: string;
  cluster?: string;
  node?: string;
  jvm?: string;
  range: Range;
  /** How often the counter is read, in ms. */
  interval: number;
  agg?: string;
  across?: string;
  points?: number;
}

export interface Samples {
  series: Schemas["SeriesPoints"][];
  from: number;
  to: number;
  /** Length of a step in ms; `null` where samples are shown as they are. */
  step: number | null;
}

/** How many points each series may have where there are very many, so that what was refused once is not asked again. */
const fitting = new Map<string, number>();
/** Fewer points than this are no graph. */
const POINTS_MIN = 50;

/** Points that one answer of the API may have. */
const ANSWER_POINTS_MAX = 250_000;

/** How many points each series may have where every node of the cluster has one: those with instances have more. */
function likelyFitting({ node, cluster, across }: SamplesWanted): number {
  if (node || across) {
    return POINTS_MAX;
  }
  const nodes = client.getQueryData(objects("node").queryKey) ?? [];
  const series = nodes.filter((one) => one.cluster === cluster).length;
  return Math.max(POINTS_MIN, Math.min(POINTS_MAX, Math.floor(ANSWER_POINTS_MAX / Math.max(1, series + 1))));
}

/** Samples in about as many points as a graph can show; in fewer, where there are more series than one answer takes. */
export async function readSamples(wanted: SamplesWanted, signal?: AbortSignal): Promise<Samples> {
  const { from, to } = resolve(wanted.range, Date.now());
  const place = `${wanted.counter}/${wanted.cluster}/${wanted.node}`;
  for (let points = Math.min(wanted.points ?? POINTS_MAX, fitting.get(place) ?? likelyFitting(wanted)); ; ) {
    try {
      return await readOnce(wanted, from, to, points, signal);
    } catch (error) {
      const isTooMuch = error instanceof ApiError && error.status === 422;
      if (!isTooMuch || points / 2 < POINTS_MIN) {
        throw error;
      }
      points = Math.floor(points / 2);
      fitting.set(place, points);
    }
  }
}

async function readOnce(wanted: SamplesWanted, from: number, to: number, points: number, signal?: AbortSignal) {
  let step = stepFor(to - from, points, wanted.interval);
  if (wanted.across && step === null) {
    step = Math.max(wanted.interval, 1000);
  }
  const place = wanted.node
    ? wanted.jvm
      ? `nodes/${encodeURIComponent(wanted.node)}/jvms/${encodeURIComponent(wanted.jvm)}`
      : `nodes/${encodeURIComponent(wanted.node)}`
    : `clusters/${encodeURIComponent(wanted.cluster ?? "")}`;
  const query = new URLSearchParams({ from: String(Math.floor(from)), to: String(Math.ceil(to) + 1000) });
  if (step !== null) {
    query.set("step", apiSpan(step));
    query.set("agg", wanted.agg ?? "avg");
  }
  if (wanted.across) {
    query.set("across", wanted.across);
  }
  const path = `/api/v1/${place}/counters/${encodeURIComponent(wanted.counter)}/samples?${query}`;
  const { series } = await send<Schemas["SamplesAnswer"]>("GET", path, undefined, {}, signal);
  return { series, from, to, step };
}

export function samples(wanted: SamplesWanted, refresh: number | false) {
  return queryOptions({
    queryKey: ["samples", wanted],
    queryFn: ({ signal }) => readSamples(wanted, signal),
    refetchInterval: refresh,
    placeholderData: (previous) => previous,
  });
}

/** How the API describes itself; forms are made of it. */
export const description = queryOptions({
  queryKey: ["openapi"],
  queryFn: () => send<{ components: { schemas: Record<string, Schema> } }>("GET", "/api/openapi.json"),
  staleTime: Number.POSITIVE_INFINITY,
});
