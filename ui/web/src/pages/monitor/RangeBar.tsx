import { ActionIcon, Button, Popover, Select, TextInput, Tooltip } from "@mantine/core";
import { useIsFetching } from "@tanstack/react-query";
import { useState } from "react";
import { client } from "../../api/queries";
import { usePrefs } from "../../app/prefs";
import { Icon } from "../../components/Icon";
import { absolute, isRelative, pan, RANGES, type Range, resolve } from "../../lib/range";
import { inputMoment, inputText, momentText, spanText } from "../../lib/time";

const REFRESHES = ["off", "2s", "5s", "10s", "30s", "1m", "5m"];

export function RangeBar({
  range,
  refresh,
  change,
}: {
  range: Range;
  refresh: string;
  change: (changes: Record<string, string | null>) => void;
}) {
  const { zone } = usePrefs();
  const [open, setOpen] = useState(false);
  const now = Date.now();
  const { from, to } = resolve(range, now);
  const [begin, setBegin] = useState("");
  const [end, setEnd] = useState("");
  const fetching = useIsFetching({ queryKey: ["samples"] }) > 0;
  const relative = RANGES.find((one) => one.from === range.from && isRelative(range));
  const label = relative
    ? `Last ${relative.label}`
    : isRelative(range)
      ? `Last ${spanText(to - from)}`
      : `${momentText(from, zone)} – ${momentText(to, zone)}`;
  const set = (next: Range) => change({ from: next.from, to: next.to === "now" ? null : next.to });
  return (
    <div className="row tight">
      <Tooltip label="Earlier">
        <ActionIcon aria-label="Earlier" onClick={() => set(pan(range, -0.5, now))}>
          <Icon name="left" />
        </ActionIcon>
      </Tooltip>
      <Popover opened={open} onChange={setOpen} position="bottom-end" trapFocus withinPortal>
        <Popover.Target>
          <Button
            onClick={() => {
              setBegin(inputText(from, zone));
              setEnd(inputText(to, zone));
              setOpen(!open);
            }}
            aria-expanded={open}
          >
            <span className="num">{label}</span>
          </Button>
        </Popover.Target>
        <Popover.Dropdown>
          <div className="stack" style={{ width: 250 }}>
            <div className="row tight">
              {RANGES.map((one) => (
                <Button
                  key={one.from}
                  size="compact-xs"
                  variant={one === relative ? "filled" : "default"}
                  onClick={() => {
                    set({ from: one.from, to: "now" });
                    setOpen(false);
                  }}
                >
                  {one.label}
                </Button>
              ))}
            </div>
            <TextInput
              type="datetime-local"
              step={1}
              size="xs"
              label={`From (${zone})`}
              value={begin}
              onChange={(event) => setBegin(event.currentTarget.value)}
            />
            <TextInput
              type="datetime-local"
              step={1}
              size="xs"
              label={`To (${zone})`}
              value={end}
              onChange={(event) => setEnd(event.currentTarget.value)}
            />
            <Button
              variant="filled"
              onClick={() => {
                const [a, b] = [inputMoment(begin, zone), inputMoment(end, zone)];
                if (a !== null && b !== null && a < b) {
                  set(absolute(a, b));
                  setOpen(false);
                }
              }}
            >
              Show
            </Button>
          </div>
        </Popover.Dropdown>
      </Popover>
      <Tooltip label="Later">
        <ActionIcon aria-label="Later" disabled={isRelative(range)} onClick={() => set(pan(range, 0.5, now))}>
          <Icon name="right" />
        </ActionIcon>
      </Tooltip>
      <Select
        size="xs"
        w={104}
        aria-label="Refresh"
        data={REFRESHES.map((one) => ({ value: one, label: one === "off" ? "No refresh" : `Every ${one}` }))}
        value={isRelative(range) ? refresh : "off"}
        disabled={!isRelative(range)}
        onChange={(value) => change({ refresh: value })}
      />
      <Tooltip label="Read again">
        <ActionIcon
          aria-label="Read again"
          loading={fetching}
          loaderProps={{ size: 14 }}
          onClick={() => void client.invalidateQueries({ queryKey: ["samples"] })}
        >
          <Icon name="retry" />
        </ActionIcon>
      </Tooltip>
    </div>
  );
}
