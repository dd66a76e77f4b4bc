import { ActionIcon, TextInput, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type CSSProperties, memo, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import { type Schemas, send } from "../api/client";
import { useFollowing } from "../api/live";
import { type Ansi, type Look, newAnsi, plainLine, pushAnsi, type Run } from "../lib/ansi";
import { hasEnded } from "../lib/runs";
import { bytesText } from "../lib/value";
import { Icon } from "./Icon";
import { download, Trouble } from "./parts";

type Output = Schemas["Output"];

interface Line {
  runs: Run[];
  stream: Schemas["Stream"];
}

/** What has come so far, as lines. Both streams are kept apart, so that colours of one do not run into the other. */
class Text {
  lines: Line[] = [];
  #open = new Map<string, { ansi: Ansi; at: number }>();
  #bytes = new Map<string, TextDecoder>();
  next = 0;

  push(output: Output): void {
    let expected = this.next;
    for (const chunk of output.chunks) {
      if (chunk.seq > expected) {
        this.#note(`${bytesText(output.bytes.cut)} are cut here`);
      }
      expected = chunk.seq + 1;
      const text = chunk.text ?? this.#decode(chunk.stream, chunk.base64 ?? "");
      if (chunk.stream === "note") {
        this.#note(text.trimEnd());
      } else {
        this.#add(chunk.stream, text);
      }
    }
    if (output.next > expected) {
      this.#note(`${bytesText(output.bytes.cut)} are cut here`);
    }
    if (output.complete && output.bytes.missed > 0) {
      this.#note(`${bytesText(output.bytes.missed)} came faster than they could be kept`);
    }
    this.next = output.next;
  }

  #decode(stream: string, base64: string): string {
    let decoder = this.#bytes.get(stream);
    if (!decoder) {
      decoder = new TextDecoder();
      this.#bytes.set(stream, decoder);
    }
    return decoder.decode(
      Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)),
      { stream: true },
    );
  }

  /** A line that only stands open for what may come is given up. */
  #close(): void {
    const last = this.lines.at(-1);
    if (last && last.stream !== "note" && last.runs.length === 0) {
      this.lines.pop();
    }
  }

  #note(text: string): void {
    this.#open.clear();
    this.#close();
    this.lines.push({ runs: [{ text, look: {} }], stream: "note" });
  }

  #add(stream: Schemas["Stream"], text: string): void {
    let open = this.#open.get(stream);
    if (!open || open.at !== this.lines.length - 1) {
      // Something of another stream came between: a new line, in the looks that were on.
      const look = open?.ansi.look ?? {};
      this.#close();
      open = { ansi: { ...newAnsi(), look, rest: open?.ansi.rest ?? "" }, at: this.lines.length };
      this.lines.push({ runs: [], stream });
      this.#open.set(stream, open);
    }
    pushAnsi(open.ansi, text);
    const [first, ...rest] = open.ansi.lines;
    this.lines[open.at] = { runs: first ?? [], stream };
    for (const runs of rest) {
      this.lines.push({ runs, stream });
    }
    open.ansi.lines = [open.ansi.lines.at(-1) ?? []];
    open.at = this.lines.length - 1;
  }
}

/** Lines that are shown; the file that can be saved has all. */
const LINES_MAX = 4000;

function useOutput(task: Schemas["Task"]) {
  const text = useRef(new Text());
  const [, setTurn] = useState(0);
  const ended = hasEnded(task.state);
  useFollowing(!ended);
  const query = useQuery({
    queryKey: ["output", task.id],
    queryFn: async () => {
      const from = text.current.next;
      const output = await send<Output>("GET", `/api/v1/tasks/${task.id}/output?from=${from}`, undefined, {
        accept: "application/json",
      });
      // Another reading may have been faster.
      if (text.current.next === from) {
        text.current.push(output);
        setTurn((turn) => turn + 1);
      }
      return { next: output.next, complete: output.complete, bytes: output.bytes };
    },
    staleTime: 0,
    gcTime: 0,
    // Told when there is more; asked now and then all the same.
    refetchInterval: (now) => (now.state.data?.complete ? false : 3000),
  });
  return { lines: text.current.lines, query };
}

const COLOURS = [
  "#7a828e",
  "#ff7b72",
  "#6fd08c",
  "#e3b341",
  "#79b8ff",
  "#d2a8ff",
  "#56d4dd",
  "#d9dee5",
  "#9aa4b2",
  "#ffa198",
  "#9be9a8",
  "#f2cc60",
  "#a5d6ff",
  "#e2c5ff",
  "#8ee6ee",
  "#ffffff",
];

function styleOf(look: Look): CSSProperties {
  const colour = (one: number | string | undefined) => (typeof one === "number" ? COLOURS[one] : one);
  return {
    color: colour(look.fg),
    backgroundColor: colour(look.bg),
    fontWeight: look.bold ? 600 : undefined,
    opacity: look.dim ? 0.65 : undefined,
    fontStyle: look.italic ? "italic" : undefined,
    textDecoration: look.underline ? "underline" : undefined,
  };
}

function marked(text: string, search: string): ReactNode {
  if (!search) {
    return text;
  }
  const parts: ReactNode[] = [];
  const lower = text.toLowerCase();
  let at = 0;
  for (let next = lower.indexOf(search); next >= 0; next = lower.indexOf(search, at)) {
    parts.push(text.slice(at, next), <mark key={next}>{text.slice(next, next + search.length)}</mark>);
    at = next + search.length;
  }
  return [...parts, text.slice(at)];
}

const Row = memo(function Row({ line, search }: { line: Line; search: string }) {
  if (line.stream === "note") {
    return <div className="note">— {plainLine(line.runs)}</div>;
  }
  return (
    <div className={line.stream === "stderr" ? "err" : undefined}>
      {line.runs.map((run, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: runs of a line only ever grow at its end
        <span key={index} style={Object.keys(run.look).length > 0 ? styleOf(run.look) : undefined}>
          {marked(run.text, search)}
        </span>
      ))}
      {line.runs.length === 0 && "\u200b"}
    </div>
  );
});

/** A task's output as it comes: colours, search, follow, and a file to save. What comes from hosts is text and nothing else. */
export function Terminal({
  task,
  head,
  search = "",
  foot,
}: {
  task: Schemas["Task"];
  head: ReactNode;
  search?: string;
  foot?: ReactNode;
}) {
  const { lines, query } = useOutput(task);
  const place = useRef<HTMLDivElement>(null);
  const [follow, setFollow] = useState(true);
  const [own, setOwn] = useState("");
  const [searching, setSearching] = useState(false);
  const wanted = (own || search).toLowerCase();
  const count = lines.length;
  // biome-ignore lint/correctness/useExhaustiveDependencies: lines grow in place
  const found = useMemo(
    () => (wanted ? lines.filter((line) => plainLine(line.runs).toLowerCase().includes(wanted)).length : 0),
    [wanted, lines, count],
  );
  const isOpen = lines.at(-1)?.runs.length === 0 && lines.at(-1)?.stream !== "note";
  const shown = lines.slice(-LINES_MAX, isOpen ? -1 : undefined);
  // biome-ignore lint/correctness/useExhaustiveDependencies: it scrolls when there is more
  useEffect(() => {
    if (follow && place.current) {
      place.current.scrollTop = place.current.scrollHeight;
    }
  }, [count, follow, query.dataUpdatedAt]);
  return (
    <div className="term">
      <header>
        {head}
        <span className="row tight nowrap push">
          {wanted && <span className="small quiet num">{found} lines</span>}
          {searching && (
            <TextInput
              size="xs"
              w={130}
              aria-label="Search in this output"
              placeholder="Search"
              value={own}
              autoFocus
              onChange={(event) => setOwn(event.currentTarget.value)}
            />
          )}
          <Tooltip label="Search in this output">
            <ActionIcon
              aria-label="Search in this output"
              aria-pressed={searching}
              onClick={() => {
                setSearching(!searching);
                setOwn("");
              }}
            >
              <Icon name="search" size={14} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label="Save as a file">
            <ActionIcon
              aria-label="Save as a file"
              onClick={() =>
                void send<string>("GET", `/api/v1/tasks/${task.id}/output`, undefined, { accept: "text/plain" }).then(
                  (text) => download(`task-${task.id}${task.node ? `-${task.node}` : ""}.txt`, text),
                )
              }
            >
              <Icon name="download" size={14} />
            </ActionIcon>
          </Tooltip>
        </span>
      </header>
      {query.isError && <Trouble error={query.error} />}
      <div
        className="out"
        ref={place}
        tabIndex={0}
        role="log"
        aria-label={`Output on ${task.node ?? `task ${task.id}`}`}
        onScroll={(event) => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          setFollow(scrollHeight - scrollTop - clientHeight < 24);
        }}
      >
        {lines.length > LINES_MAX && (
          <div className="note">
            — the last {LINES_MAX} of {lines.length} lines; the file has all
          </div>
        )}
        {shown.map((line, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: a line is known by its number
          <Row key={Math.max(0, lines.length - LINES_MAX) + index} line={line} search={wanted} />
        ))}
        {count === 0 && query.data && (
          <span className="note">{query.data.complete ? "It printed nothing." : "Nothing yet."}</span>
        )}
      </div>
      {(foot || (!follow && !hasEnded(task.state))) && (
        <footer className="row">
          {foot}
          {!follow && !hasEnded(task.state) && (
            <button type="button" className="linkish push" onClick={() => setFollow(true)}>
              Follow
            </button>
          )}
        </footer>
      )}
    </div>
  );
}
