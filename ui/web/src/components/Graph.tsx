import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useMantineColorScheme } from "@mantine/core";
import { usePrefs } from "../app/prefs";
import { type Aligned, seriesColour, valueBefore } from "../lib/series";
import { momentText } from "../lib/time";
import { valueText } from "../lib/value";
import { axisTime, type Band, css, type Drawn, drawBands, drawThresholds, type Threshold } from "./graphDrawing";
import { type Mark, Marks } from "./Marks";

export interface GraphProps {
  data: Aligned;
  labels: string[];
  unit: string;
  from: number;
  to: number;
  height?: number;
  thresholds?: Threshold[];
  bands?: Band[];
  marks?: Mark[];
  /** Graphs of one group share their cursor. */
  group?: string;
  onZoom?: (from: number, to: number) => void;
  onReset?: () => void;
  onPan?: (part: number) => void;
  /** Why there is nothing to see. */
  nothing?: string;
  legend?: "short" | "tall";
  title: string;
}

/** Legends longer than this are cut; the graph shows all. */
const LEGEND_MAX = 120;

/** One graph with all series of a counter. Drag zooms, Shift and drag pans, a double click goes back. */
export function Graph(props: GraphProps) {
  const { data, labels, unit, from, to, height = 190, group = "all", title } = props;
  const { zone } = usePrefs();
  const { colorScheme } = useMantineColorScheme();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const began = useRef<number | null>(null);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [cursor, setCursor] = useState<number | null>(null);
  const [box, setBox] = useState<{ left: number; width: number } | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const drawn: Drawn = { thresholds: props.thresholds ?? [], bands: props.bands ?? [] };
  const drawnNow = useRef(drawn);
  drawnNow.current = drawn;
  const names = labels.join("\u0001");
  const isMarked = (props.marks?.length ?? 0) > 0;

  // Beside the plot, which may be made anew in the middle of a drag.
  const panning = useRef<number | null>(null);
  useEffect(() => {
    const released = (event: MouseEvent) => {
      const width = plot.current?.over.clientWidth ?? 0;
      if (panning.current !== null && width > 0) {
        const part = (panning.current - event.clientX) / width;
        if (Math.abs(part) > 0.01) {
          latest.current.onPan?.(part);
        }
      }
      panning.current = null;
    };
    addEventListener("mouseup", released);
    return () => removeEventListener("mouseup", released);
  }, []);

  // A plot is made for its series, and kept while only their values change.
  // biome-ignore lint/correctness/useExhaustiveDependencies: what changes often is read through refs
  useEffect(() => {
    const target = place.current;
    if (!target) {
      return;
    }
    const thick = labels.length > 40 ? 1 : 1.4;
    const quiet = css("--quiet");
    const line = css("--line");
    const font = `11px "Geist Variable", system-ui, sans-serif`;
    const options: uPlot.Options = {
      width: target.clientWidth,
      height,
      ms: 1e-3,
      padding: [isMarked ? 22 : 10, 14, 0, 0],
      legend: { show: false },
      focus: { alpha: 0.35 },
      cursor: {
        sync: { key: group },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 24 },
        points: { size: 6, show: labels.length <= 12 },
        bind: {
          mousedown: (_self, _target, handler) => (event) => {
            if (event.shiftKey) {
              panning.current = event.clientX;
              return null;
            }
            return handler(event);
          },
          dblclick: () => () => {
            latest.current.onReset?.();
            return null;
          },
        },
      },
      scales: {
        x: { time: true, range: () => [latest.current.from / 1000, latest.current.to / 1000] },
        y: {
          range: (_self, low, high) => {
            if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) {
              return [0, 1];
            }
            const marks = drawnNow.current.thresholds.map((one) => one.value);
            const reach = high - low || Math.abs(high) || 1;
            // A threshold far away would press the graph flat.
            const near = marks.filter((mark) => mark <= high + 3 * reach && mark >= low - 3 * reach);
            const top = Math.max(high, ...near);
            const bottom = low >= 0 ? Math.min(0, low) : Math.min(low, ...near);
            return [bottom, top + (top - bottom) * 0.08 || 1];
          },
        },
      },
      axes: [
        {
          stroke: quiet,
          font,
          grid: { show: false },
          ticks: { stroke: line, size: 4 },
          space: 64,
          size: 26,
          gap: 3,
          values: (self, splits) => {
            const scale = self.scales["x"];
            return axisTime(zone, (scale?.max ?? 0) - (scale?.min ?? 0))(self, splits);
          },
        },
        {
          stroke: quiet,
          font,
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          size: (_self, values) => Math.max(34, Math.max(0, ...(values ?? []).map((text) => text.length)) * 6.4 + 10),
          gap: 5,
          space: 36,
          // Without samples there is nothing that the levels could be of.
          values: (self, splits) => splits.map((value) => (self.data[0].length > 0 ? valueText(value, unit) : "")),
        },
      ],
      series: [
        {},
        ...labels.map((label, index) => ({
          label,
          stroke: seriesColour(index),
          width: thick,
          spanGaps: false,
          points: { show: false },
        })),
      ],
      hooks: {
        drawClear: [(self: uPlot) => drawBands(self, drawnNow.current)],
        draw: [
          (self: uPlot) => {
            drawThresholds(self, drawnNow.current);
            if (began.current !== null && self.data[0].length > 0) {
              const detail = { series: self.series.length - 1, points: self.data[0].length };
              performance.measure("graph", { start: began.current, end: performance.now(), detail });
            }
            began.current = null;
          },
        ],
        setCursor: [(self: uPlot) => setCursor(self.cursor.idx ?? null)],
        setSize: [(self: uPlot) => setBox({ left: self.over.offsetLeft, width: self.over.clientWidth })],
        ready: [(self: uPlot) => setBox({ left: self.over.offsetLeft, width: self.over.clientWidth })],
        setSelect: [
          (self: uPlot) => {
            const { left, width } = self.select;
            if (width > 4) {
              const begin = self.posToVal(left, "x") * 1000;
              const end = self.posToVal(left + width, "x") * 1000;
              self.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
              latest.current.onZoom?.(begin, end);
            }
          },
        ],
      },
    };
    const made = new uPlot(options, [[], ...labels.map(() => [])] as uPlot.AlignedData, target);
    plot.current = made;
    const resized = new ResizeObserver(() => {
      if (target.clientWidth > 0 && target.clientWidth !== made.width) {
        made.setSize({ width: target.clientWidth, height });
      }
    });
    resized.observe(target);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [names, unit, height, zone, colorScheme, group, isMarked]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new plot needs its data, too
  useEffect(() => {
    // How long it takes is there to be seen in the browser's own tools, and is tested.
    began.current = performance.now();
    plot.current?.setData([data.times, ...data.values] as uPlot.AlignedData);
  }, [data, from, to, names, unit, height, zone, colorScheme, group, isMarked]);

  const over = JSON.stringify(drawn);
  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew when what is drawn over it changes
  useEffect(() => {
    plot.current?.redraw(false, true);
  }, [over]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a new plot shows all
  useEffect(() => {
    const now = plot.current;
    if (now) {
      now.batch(() => {
        labels.forEach((label, index) => {
          const show = !hidden.has(label);
          if (now.series[index + 1]?.show !== show) {
            now.setSeries(index + 1, { show });
          }
        });
      });
    }
  }, [hidden, names, colorScheme, zone, isMarked]);

  const isolate = (label: string, more: boolean) => {
    setHidden((before) => {
      if (more) {
        const next = new Set(before);
        if (!next.delete(label)) {
          next.add(label);
        }
        return next;
      }
      const alone = before.size === labels.length - 1 && !before.has(label);
      return alone ? new Set() : new Set(labels.filter((other) => other !== label));
    });
  };

  const index = cursor ?? data.times.length - 1;
  const at = cursor === null ? null : data.times[cursor];
  const rows = useMemo(
    () =>
      labels
        .slice(0, LEGEND_MAX)
        .map((label, row) => ({ label, row, value: valueBefore(data.values[row] ?? [], index) })),
    [labels, data, index],
  );
  const isEmpty = data.times.length === 0;

  return (
    <div>
      <div
        className="plot"
        ref={place}
        role="group"
        tabIndex={0}
        aria-label={`Graph of ${title}. Arrow keys pan, plus and minus zoom, Escape goes back.`}
        style={{ minHeight: height }}
        onKeyDown={(event) => {
          const keys: Record<string, () => void> = {
            ArrowLeft: () => props.onPan?.(-0.25),
            ArrowRight: () => props.onPan?.(0.25),
            "+": () => props.onZoom?.(from + (to - from) / 4, to - (to - from) / 4),
            "-": () => props.onZoom?.(from - (to - from) / 2, Math.min(Date.now(), to + (to - from) / 2)),
            Escape: () => props.onReset?.(),
          };
          const act = keys[event.key];
          if (act && !event.metaKey && !event.ctrlKey) {
            event.preventDefault();
            act();
          }
        }}
      >
        {isEmpty && <div className="nodata">{props.nothing ?? "No samples in this range."}</div>}
        {box && isMarked && <Marks marks={props.marks ?? []} from={from} to={to} box={box} />}
      </div>
      {!isEmpty && (
        <div className={`legend${props.legend === "tall" ? " tall" : ""}`}>
          {rows.map(({ label, row, value }) => (
            <button
              key={label}
              type="button"
              aria-pressed={!hidden.has(label)}
              title={`${label}: click shows it alone, Ctrl and click hides it`}
              onClick={(event) => isolate(label, event.ctrlKey || event.metaKey)}
              onMouseEnter={() => plot.current?.setSeries(row + 1, { focus: true })}
              onMouseLeave={() => plot.current?.setSeries(null as unknown as number, { focus: true })}
            >
              <i style={{ background: seriesColour(row) }} />
              <span className="cut">{label}</span>
              <span className="v">{valueText(value, unit)}</span>
            </button>
          ))}
          {labels.length > LEGEND_MAX && <span className="quiet">and {labels.length - LEGEND_MAX} more</span>}
          {at !== null && at !== undefined && <span className="sr">{momentText(at * 1000, zone)}</span>}
        </div>
      )}
    </div>
  );
}
