import { Modal } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useId, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";
import { KINDS } from "../api/kinds";
import { objects, peers } from "../api/queries";
import { useMay } from "../api/session";
import { type Findable, find } from "../lib/find";

const PAGES: Findable[] = [
  { to: "/", text: "Overview", what: "page" },
  { to: "/monitor", text: "Monitoring", what: "page", more: "graphs counters samples" },
  { to: "/outputs", text: "Outputs", what: "page", more: "checks scripts last output failing" },
  { to: "/triggers", text: "Triggers", what: "page", more: "alerts" },
  { to: "/runs", text: "Runs", what: "page", more: "commands executions" },
  { to: "/tasks", text: "Tasks", what: "page" },
  { to: "/peers", text: "Peers", what: "page", more: "leader backup" },
  { to: "/events", text: "Events", what: "page", more: "audit log" },
  { to: "/admin", text: "Administration", what: "page" },
  { to: "/admin/settings", text: "Settings", what: "page", more: "retention" },
];

function useThings(enabled: boolean): Findable[] {
  const clusters = useQuery({ ...objects("cluster"), enabled }).data;
  const nodes = useQuery({ ...objects("node"), enabled }).data;
  const counters = useQuery({ ...objects("counter"), enabled }).data;
  const triggers = useQuery({ ...objects("trigger"), enabled }).data;
  const actions = useQuery({ ...objects("action"), enabled }).data;
  const files = useQuery({ ...objects("file"), enabled }).data;
  const all = useQuery({ ...peers, enabled }).data;
  const mayRun = useMay("operator");
  return useMemo(() => {
    const name = encodeURIComponent;
    const pages = mayRun ? [...PAGES, { to: "/run", text: "Run a command", what: "page" }] : PAGES;
    return [
      ...pages,
      ...(clusters ?? []).map((one) => ({
        to: `/monitor?cluster=${name(one.name)}`,
        text: one.name,
        what: "cluster",
        more: one.description,
      })),
      ...(nodes ?? []).map((one) => ({
        to: `/monitor?cluster=${name(one.cluster)}&node=${name(one.name)}`,
        text: one.name,
        what: "node",
        more: `${one.cluster} ${one.hostname}`,
      })),
      ...(mayRun ? (nodes ?? []) : []).flatMap((one) =>
        (one.jvms ?? []).map((jvm) => ({
          to: `/nodes/${name(one.name)}/jvms/${name(jvm)}`,
          text: `${one.name} / ${jvm}`,
          what: "JVM",
          more: "MBeans",
        })),
      ),
      ...(counters ?? []).map((one) => ({
        to: `/monitor?cluster=${name(one.clusters[0] === "*" ? "" : (one.clusters[0] ?? ""))}&counter=${name(one.name)}`,
        text: one.name,
        what: "counter",
        more: one.description,
      })),
      ...(triggers ?? []).map((one) => ({
        to: `/triggers/${name(one.name)}`,
        text: one.name,
        what: "trigger",
        more: one.description,
      })),
      ...(actions ?? []).map((one) => ({
        to: `/admin/actions/${name(one.name)}`,
        text: one.name,
        what: "action",
        more: one.description,
      })),
      ...(files ?? []).map((one) => ({ to: `/admin/files/${name(one.name)}`, text: one.name, what: "file" })),
      ...(all ?? []).map((one) => ({ to: "/peers", text: one.name, what: "peer", more: one.role })),
      ...Object.values(KINDS).map((kind) => ({ to: `/admin/${kind.path}`, text: kind.title, what: "list" })),
    ];
  }, [clusters, nodes, counters, triggers, actions, files, all, mayRun]);
}

export function Finder({ open, onClose }: { open: boolean; onClose: () => void }) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const things = useThings(open);
  const navigate = useNavigate();
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const output: Findable[] = typed.trim()
    ? [
        {
          to: `/outputs?search=${encodeURIComponent(typed.trim())}`,
          text: `“${typed.trim()}”`,
          what: "in last outputs",
        },
      ]
    : [];
  const run: Findable[] = /^#?\d+$/.test(typed.trim())
    ? [{ to: `/runs/${typed.trim().replace("#", "")}`, text: `Run ${typed.trim()}`, what: "run" }]
    : [];
  const found = [...run, ...find(things, typed), ...output];
  useEffect(() => {
    if (open) {
      setTyped("");
      setAt(0);
    }
  }, [open]);
  const go = (thing: Findable | undefined) => {
    if (thing) {
      onClose();
      void navigate(thing.to);
    }
  };
  const chosen = Math.min(at, found.length - 1);
  const move = (by: number) => {
    const next = (chosen + by + found.length) % Math.max(1, found.length);
    setAt(next);
    list.current?.children[next]?.scrollIntoView({ block: "nearest" });
  };
  return (
    <Modal
      opened={open}
      onClose={onClose}
      withCloseButton={false}
      padding={0}
      size={560}
      yOffset="12vh"
      title="Search"
      styles={{ header: { display: "none" } }}
      className="finder"
    >
      <input
        value={typed}
        placeholder="Nodes, counters, triggers, pages, outputs…"
        role="combobox"
        aria-label="Search everything"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={`${id}-${chosen}`}
        // biome-ignore lint/a11y/noAutofocus: it was opened to type
        autoFocus
        data-autofocus
        onChange={(event) => {
          setTyped(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            event.preventDefault();
            move(event.key === "ArrowDown" ? 1 : -1);
          } else if (event.key === "Enter") {
            go(found[chosen]);
          }
        }}
      />
      <div ref={list} id={id} role="listbox" aria-label="Found">
        {found.map((thing, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the box above has the keys
          // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the box above
          <div
            key={`${thing.what}-${thing.to}-${thing.text}`}
            id={`${id}-${index}`}
            role="option"
            aria-selected={index === chosen}
            onMouseMove={() => setAt(index)}
            onClick={() => go(thing)}
          >
            <span>{thing.text}</span>
            {thing.more && <span className="quiet small cut">{thing.more}</span>}
            <span className="quiet small push">{thing.what}</span>
          </div>
        ))}
        {found.length === 0 && <div className="quiet">Nothing is called so.</div>}
      </div>
    </Modal>
  );
}
