import createClient from "openapi-fetch";
import type { components, paths } from "../../generated/schema";

export type Schemas = components["schemas"];
export type Role = Schemas["Role"];
export type Problem = Schemas["Problem"];

/** What the API refuses, in its own words; or that nothing answered. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly fields: Schemas["FieldError"][];
  readonly requestId: string;

  constructor(problem: Partial<Problem> & { status: number }) {
    super(problem.detail || problem.title || `status ${problem.status}`);
    this.name = "ApiError";
    this.status = problem.status;
    this.code = problem.code ?? "";
    this.fields = problem.errors ?? [];
    this.requestId = problem.request_id ?? "";
  }

  /** Whether the peer did not answer at all. */
  get isSilence(): boolean {
    return this.status === 0;
  }
}

const hooks = { csrf: "", ended: () => {}, silent: () => {} };

/** What every write shows beside the session's cookie. */
export function setCsrf(csrf: string): void {
  hooks.csrf = csrf;
}

/** Tells what to do when the session has ended, and when the peer does not answer. */
export function onTrouble(ended: () => void, silent: () => void): void {
  hooks.ended = ended;
  hooks.silent = silent;
}

async function ask(input: Request | string, init?: RequestInit): Promise<Response> {
  try {
    const response = await fetch(input, init);
    if (response.status === 401 && !new URL(response.url).pathname.endsWith("/session")) {
      hooks.ended();
    }
    return response;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") {
      throw error;
    }
    hooks.silent();
    throw new ApiError({ status: 0, code: "silent", detail: "The peer does not answer." });
  }
}

export const api = createClient<paths>({ baseUrl: "", fetch: ask });
api.use({
  onRequest({ request }) {
    if (request.method !== "GET" && hooks.csrf) {
      request.headers.set("x-csrf-token", hooks.csrf);
    }
    return request;
  },
});

/** The error of an answer. */
async function refused(response: Response): Promise<ApiError> {
  const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
  return new ApiError({ ...problem, status: response.status });
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer, or the problem as an exception. */
export async function must<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (error !== undefined || !response.ok) {
    throw new ApiError({ ...(typeof error === "object" ? (error as Partial<Problem>) : {}), status: response.status });
  }
  return data as T;
}

/** For what is the same for all kinds, so that no path can be typed. */
export async function send<T>(
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<T> {
  const raw = body instanceof Blob || typeof body === "string";
  const response = await ask(path, {
    method,
    headers: {
      ...(method === "GET" ? {} : { "x-csrf-token": hooks.csrf }),
      ...(body === undefined || raw ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(signal ? { signal } : {}),
    ...(body === undefined ? {} : { body: raw ? (body as BodyInit) : JSON.stringify(body) }),
  });
  if (!response.ok) {
    throw await refused(response);
  }
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  return (isJson ? await response.json() : await response.text()) as T;
}

/** Pages of a list are read up to here. */
const ITEMS_MAX = 20_000;

/** A list, with all of its pages. */
export async function all<T>(path: string, query: Record<string, string | undefined> = {}): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const search = new URLSearchParams({ limit: "1000" });
    for (const [key, value] of Object.entries(query)) {
      if (value !== undefined && value !== "") {
        search.set(key, value);
      }
    }
    if (cursor) {
      search.set("cursor", cursor);
    }
    const page: { items: T[]; next: string | null } = await send("GET", `${path}?${search}`);
    items.push(...page.items);
    cursor = page.next;
  } while (cursor && items.length < ITEMS_MAX);
  return items;
}
