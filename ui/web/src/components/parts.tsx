import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { Link } from "react-router";
import { ApiError } from "../api/client";
import { useNow, usePrefs } from "../app/prefs";
import { agoText, clockText, fullText, momentText } from "../lib/time";

/** The head of a page: where one is, and what can be done here. */
export function Head({
  crumbs = [],
  title,
  children,
  actions,
}: {
  crumbs?: { to: string; text: string }[];
  title: string;
  children?: ReactNode;
  actions?: ReactNode;
}) {
  useEffect(() => {
    document.title = `${title} · rscaler`;
  }, [title]);
  return (
    <div className="head">
      <h1>
        {crumbs.map((crumb) => (
          <Link key={crumb.to} to={crumb.to} className="crumb">
            {crumb.text}
          </Link>
        ))}
        <span>{title}</span>
        {children}
      </h1>
      {actions && <div className="actions">{actions}</div>}
    </div>
  );
}

export function Section({
  title,
  more,
  children,
  id,
}: {
  title: ReactNode;
  more?: ReactNode;
  children: ReactNode;
  id?: string;
}) {
  return (
    <section id={id}>
      <div className="title">
        <h2>{title}</h2>
        {more}
      </div>
      {children}
    </section>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <strong>{title}</strong>
      {children && <div className="prose">{children}</div>}
    </div>
  );
}

export function Wait({ lines = 3, chart = false }: { lines?: number; chart?: boolean }) {
  return (
    <div className={chart ? "wait chart" : "wait"} role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <span key={at} style={{ width: chart ? "100%" : `${92 - ((at * 23) % 45)}%` }} />
      ))}
    </div>
  );
}

export function Trouble({ error, again }: { error: unknown; again?: () => void }) {
  const problem = error instanceof ApiError ? error : null;
  return (
    <div className="problem" role="alert">
      <p>
        <Words text={error instanceof Error ? error.message : String(error)} />
      </p>
      {problem?.fields.map((field) => (
        <p key={field.pointer + field.detail} className="small">
          <code>{field.pointer}</code> <Words text={field.detail} />
        </p>
      ))}
      <p className="quiet small">
        {problem && problem.status > 0 && `${problem.status} ${problem.code}`}
        {problem?.requestId && ` · request ${problem.requestId}`}
        {again && (
          <>
            {" "}
            <button type="button" className="linkish" onClick={again}>
              Try again
            </button>
          </>
        )}
      </p>
    </div>
  );
}

/** What a query has, or how it stands. What was there stays while it is read again. */
export function Loaded<T>({
  query,
  children,
  lines,
}: {
  query: UseQueryResult<T>;
  children: (data: T) => ReactNode;
  lines?: number;
}) {
  if (query.data !== undefined) {
    return children(query.data);
  }
  if (query.isError) {
    return <Trouble error={query.error} again={() => void query.refetch()} />;
  }
  return <Wait lines={lines ?? 3} />;
}

export type Tone = "lead" | "ok" | "pending" | "firing" | "recovering" | "busy" | "idle";

const TONES: Record<string, Tone> = {
  ok: "ok",
  pending: "pending",
  firing: "firing",
  recovering: "recovering",
  queued: "idle",
  waiting: "idle",
  assigned: "busy",
  running: "busy",
  succeeded: "ok",
  failed: "firing",
  "timed-out": "firing",
  lost: "firing",
  cancelled: "idle",
  skipped: "idle",
  leader: "lead",
  voter: "idle",
  learner: "idle",
  disabled: "idle",
};

export function toneOf(state: string): Tone {
  return TONES[state] ?? "idle";
}

export function Badge({ state, text, bare }: { state: string; text?: ReactNode; bare?: boolean }) {
  return (
    <span className={`badge tone-${toneOf(state)}${bare ? " bare" : ""}`}>{text ?? state.replaceAll("-", " ")}</span>
  );
}

/** A moment: how long ago it is, or as a clock shows it; the whole truth as its title. */
export function When({ at, as = "ago" }: { at: string | number | null | undefined; as?: "ago" | "moment" | "clock" }) {
  const { zone } = usePrefs();
  // What came since it was told last is not ahead of now.
  const now = Math.max(useNow(as === "ago" ? 5000 : 3_600_000), Date.now());
  if (at === null || at === undefined) {
    return <span className="quiet">–</span>;
  }
  const ms = typeof at === "number" ? at : Date.parse(at);
  const text = as === "ago" ? agoText(ms, now) : as === "clock" ? clockText(ms, zone) : momentText(ms, zone, now);
  return (
    <time className="num" dateTime={new Date(ms).toISOString()} title={fullText(ms, zone)}>
      {text}
    </time>
  );
}

export function Meter({ part, tone = "busy", label }: { part: number; tone?: Tone; label: string }) {
  const percent = Math.round(Math.max(0, Math.min(1, part)) * 100);
  return (
    <span
      className={`meter tone-${tone}`}
      role="meter"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span style={{ width: `${percent}%` }} />
    </span>
  );
}

/** Words of the API: what stands between backticks is a name. */
export function Words({ text }: { text: string }) {
  return text.split("`").map((part, index) =>
    index % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a text do not move
      <code key={index}>{part}</code>
    ) : (
      part
    ),
  );
}

/** Gives a file to save. */
export function download(name: string, text: string, type = "text/plain"): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
