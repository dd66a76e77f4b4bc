import { Select } from "@mantine/core";
import { useEffect, useState } from "react";
import { useSearchParams } from "react-router";
import { page } from "../../api/queries";

/** What the query string says of a list, and how to change that. */
export function useFilter(names: string[]) {
  const [params, setParams] = useSearchParams();
  const filter = Object.fromEntries(names.map((name) => [name, params.get(name) ?? undefined]));
  const set = (name: string, value: string | null) =>
    setParams((before) => {
      const next = new URLSearchParams(before);
      if (value) {
        next.set(name, value);
      } else {
        next.delete(name);
      }
      return next;
    });
  return { filter, set };
}

/** The rest of a list, a page at a time. */
export function useMore<T>(path: string, filter: Record<string, string | undefined>, next: string | null | undefined) {
  const [more, setMore] = useState<{ items: T[]; next: string | null }>({ items: [], next: null });
  const [started, setStarted] = useState(false);
  const key = JSON.stringify(filter);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another filter, another list
  useEffect(() => {
    setMore({ items: [], next: null });
    setStarted(false);
  }, [key]);
  const cursor = started ? more.next : next;
  const load = async () => {
    if (cursor) {
      const loaded = await page<T>(path, filter, 100, cursor);
      setMore({ items: [...more.items, ...loaded.items], next: loaded.next });
      setStarted(true);
    }
  };
  return { items: more.items, hasMore: Boolean(cursor), load };
}

export function Filters({ children }: { children: React.ReactNode }) {
  return <div className="bar">{children}</div>;
}

export function FilterSelect({
  label,
  data,
  value,
  onChange,
}: {
  label: string;
  data: string[] | { value: string; label: string }[];
  value: string | undefined;
  onChange: (value: string | null) => void;
}) {
  return (
    <Select
      size="xs"
      w={150}
      aria-label={label}
      placeholder={label}
      clearable
      searchable
      data={data}
      value={value ?? null}
      onChange={onChange}
    />
  );
}
