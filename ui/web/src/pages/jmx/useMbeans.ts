import { queryOptions } from "@tanstack/react-query";
import { ApiError, type Schemas, send } from "../../api/client";
import { patternsFor } from "../../lib/mbeans";

export type Mbean = Schemas["Mbean"];

/** A JVM of a node. */
export interface Place {
  node: string;
  jvm: string;
}

interface Asked {
  pattern?: string;
  cursor?: string;
  limit: number;
  values?: boolean;
}

/** What the API says of MBeans: without their values, unless those are wanted. */
export function ask({ node, jvm }: Place, asked: Asked, signal?: AbortSignal): Promise<Schemas["Mbeans"]> {
  const query = new URLSearchParams({ limit: String(asked.limit), values: String(asked.values ?? false) });
  if (asked.pattern) {
    query.set("pattern", asked.pattern);
  }
  if (asked.cursor) {
    query.set("cursor", asked.cursor);
  }
  const path = `/api/v1/nodes/${encodeURIComponent(node)}/jvms/${encodeURIComponent(jvm)}/mbeans?${query}`;
  return send("GET", path, undefined, {}, signal);
}

/** What is read of a domain at once. */
const PAGE = 200;
/** Requests for one tree; a JVM with more domains than that is not known. */
const PAGES_MAX = 60;

export interface Domain {
  name: string;
  mbeans: Mbean[];
  /** How many it has in all; what is not here yet is read when somebody wants it. */
  count: number;
}

export interface Tree {
  domains: Domain[];
  /** Of the whole JVM. */
  matched: number;
  isWhole: boolean;
}

/**
 * The beginning of every domain. The API gives MBeans by name, so that the end of a domain is a place to go on from: those of a
 * domain with a hundred thousand are not read to see what comes after it.
 */
async function readTree(place: Place, signal?: AbortSignal): Promise<Tree> {
  const domains = new Map<string, Domain>();
  let matched = 0;
  let cursor: string | undefined;
  const cut: Promise<void>[] = [];
  const measure = async (domain: Domain, next: string) => {
    const pattern = `${domain.name}:*`;
    domain.count = (await ask(place, { pattern, limit: 1 }, signal)).matched;
    if (domain.count > domain.mbeans.length && domain.mbeans.length < PAGE) {
      // It began in the middle of a page: the rest of its first part.
      domain.mbeans.push(...(await ask(place, { pattern, limit: PAGE, cursor: next }, signal)).items);
    }
  };
  const whole = async (): Promise<Tree> => {
    await Promise.all(cut);
    const all = [...domains.values()];
    return { domains: all, matched, isWhole: all.every((domain) => domain.count <= domain.mbeans.length) };
  };
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const page = await ask(place, { limit: PAGE, ...(cursor ? { cursor } : {}) }, signal);
    matched = page.matched;
    for (const mbean of page.items) {
      const known = domains.get(mbean.domain) ?? { name: mbean.domain, mbeans: [], count: 0 };
      known.mbeans.push(mbean);
      known.count = known.mbeans.length;
      domains.set(mbean.domain, known);
    }
    const last = page.items.at(-1);
    if (!page.next || !last) {
      return whole();
    }
    const domain = domains.get(last.domain);
    if (domain) {
      const measured = measure(domain, page.next);
      // Waited for at the end; what fails before that ends all of it.
      measured.catch(() => {});
      cut.push(measured);
    }
    cursor = `${last.domain}:\uffff`;
  }
  return { ...(await whole()), isWhole: false };
}

export function treeOf(place: Place) {
  return queryOptions({
    queryKey: ["mbeans", place, "tree"],
    queryFn: ({ signal }) => readTree(place, signal),
    // MBeans come and go.
    refetchInterval: 30_000,
    retry: false,
  });
}

/** What the JVM itself finds, where the page has not read all there is. */
export function found(place: Place, typed: string) {
  return queryOptions({
    queryKey: ["mbeans", place, "found", typed],
    queryFn: async ({ signal }) => {
      const answers = await Promise.all(
        patternsFor(typed).map((pattern) => ask(place, { pattern, limit: PAGE }, signal)),
      );
      const all = new Map(answers.flatMap((answer) => answer.items).map((mbean) => [mbean.name, mbean]));
      return { mbeans: [...all.values()], isCut: answers.some((answer) => answer.next !== null) };
    },
    retry: false,
  });
}

/** One MBean with its values. Where they take too long, what it has without them, and why. */
export function one(place: Place, name: string, every: number | false) {
  return queryOptions({
    queryKey: ["mbeans", place, "one", name],
    queryFn: async ({ signal }) => {
      try {
        const { items } = await ask(place, { pattern: name, limit: 1, values: true }, signal);
        return { mbean: items[0] ?? null, at: Date.now(), late: null };
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 504)) {
          throw error;
        }
        const { items } = await ask(place, { pattern: name, limit: 1 }, signal);
        return { mbean: items[0] ?? null, at: Date.now(), late: error.message };
      }
    },
    refetchInterval: every,
    staleTime: 0,
    retry: false,
  });
}
