import { Button, Select, TextInput } from "@mantine/core";
import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { KINDS, type Kind } from "../../api/kinds";
import { page } from "../../api/queries";
import { Table } from "../../components/Lists";
import { Empty, Head, Trouble, Wait, When, Words } from "../../components/parts";
import { useFilter } from "../../components/useQueryString";
import { eventTone } from "../overview/Feed";

const EVENT_TYPES = [
  "created",
  "updated",
  "deleted",
  "trigger-fired",
  "trigger-recovered",
  "trigger-silenced",
  "run-started",
  "run-finished",
  "task-lost",
  "peer-joined",
  "peer-changed",
  "peer-removed",
  "host-key",
];

export function Events() {
  const { filter, set } = useFilter(["type", "actor", "object", "name"], true);
  const query = useInfiniteQuery({
    queryKey: ["event", "all", filter],
    queryFn: ({ pageParam }) => page<Schemas["Event"]>("/api/v1/events", filter, 100, pageParam),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next ?? undefined,
    placeholderData: keepPreviousData,
  });
  const items = query.data?.pages.flatMap((one) => one.items) ?? [];
  return (
    <>
      <Head title="Events" />
      <div className="bar">
        <Select
          size="xs"
          w={170}
          aria-label="What happened"
          placeholder="What happened"
          clearable
          searchable
          data={EVENT_TYPES}
          value={filter["type"] ?? null}
          onChange={(value) => set("type", value)}
        />
        <Select
          size="xs"
          w={170}
          aria-label="Kind of object"
          placeholder="To what kind"
          clearable
          data={Object.keys(KINDS)}
          value={filter["object"] ?? null}
          onChange={(value) => set("object", value)}
        />
        <TextInput
          size="xs"
          w={150}
          aria-label="Name"
          placeholder="Name"
          defaultValue={filter["name"] ?? ""}
          onBlur={(event) => set("name", event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && set("name", event.currentTarget.value)}
        />
        <TextInput
          size="xs"
          w={150}
          aria-label="By whom"
          placeholder="By whom: user/ada"
          defaultValue={filter["actor"] ?? ""}
          onBlur={(event) => set("actor", event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && set("actor", event.currentTarget.value)}
        />
      </div>
      {query.isError ? (
        <Trouble error={query.error} />
      ) : !query.data ? (
        <Wait lines={8} />
      ) : items.length === 0 ? (
        <Empty title="No event is like that." />
      ) : (
        <>
          <Table
            label="Events"
            items={items}
            id={(event) => event.id}
            columns={[
              { title: "When", tight: true, cell: (event) => <When at={event.at} as="moment" /> },
              {
                title: "What happened",
                cell: (event) => (
                  <>
                    <span className={`dot tone-${eventTone(event)}`} style={{ marginRight: 8 }} />
                    <Words text={event.message} />
                  </>
                ),
              },
              { title: "Type", tight: true, cell: (event) => <span className="tag">{event.type}</span> },
              { title: "By", tight: true, cell: (event) => <span className="quiet">{event.actor}</span> },
              {
                title: "See",
                tight: true,
                cell: (event) =>
                  event.run ? (
                    <Link to={`/runs/${event.run}`}>Run {event.run}</Link>
                  ) : event.object && event.name && event.object in KINDS && event.type !== "deleted" ? (
                    <Link to={`/admin/${KINDS[event.object as Kind].path}/${event.name}`}>{event.name}</Link>
                  ) : null,
              },
            ]}
          />
          {query.hasNextPage && (
            <p>
              <Button loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>
                Show more
              </Button>
            </p>
          )}
        </>
      )}
    </>
  );
}
