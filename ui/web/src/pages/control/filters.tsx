import { Button, Select } from "@mantine/core";
import { useEffect, useState } from "react";
import { page } from "../../api/queries";
import { sayProblem } from "../../app/toast";
import { title } from "../../lib/schema";

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

/** Asks for the next page, where there is one. */
export function ShowMore({ more }: { more: { hasMore: boolean; load: () => Promise<void> } }) {
  return (
    more.hasMore && (
      <p>
        <Button onClick={() => void more.load().catch(sayProblem)}>Show more</Button>
      </p>
    )
  );
}

type Choices = string[] | { value: string; label: string }[];

/** A picker for each part of a filter, in the order of `choices`. */
export function Filters({
  filter,
  set,
  choices,
}: {
  filter: Record<string, string | undefined>;
  set: (name: string, value: string | null) => void;
  choices: Record<string, Choices>;
}) {
  return (
    <div className="bar">
      {Object.entries(choices).map(([name, data]) => (
        <Select
          key={name}
          size="xs"
          w={150}
          aria-label={title(name)}
          placeholder={title(name)}
          clearable
          searchable
          data={data}
          value={filter[name] ?? null}
          onChange={(value) => set(name, value)}
        />
      ))}
    </div>
  );
}
