import type uPlot from "uplot";
import { clockText, momentText, type Zone } from "../lib/time";

/** A level that a trigger watches. */
export interface Threshold {
  value: number;
  label: string;
  soft?: boolean;
}

/** A part of time in which a trigger was in some state; ms. */
export interface Band {
  from: number;
  to: number;
  state: "pending" | "firing";
}

/** A colour of the theme, as it is now. */
export function css(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Times below the graph, days where they change. */
export function axisTime(zone: Zone, span: number) {
  return (_plot: uPlot, splits: number[]) =>
    splits.map((at, index) => {
      const ms = at * 1000;
      const clock = clockText(ms, zone);
      const short = span > 600 ? clock.slice(0, 5) : clock;
      const before = splits[index - 1];
      const dayOf = (moment: number) => momentText(moment, zone).split(" ").slice(0, 2).join(" ");
      const isNewDay = before === undefined ? span > 4 * 86_400 : dayOf(before * 1000) !== dayOf(ms);
      return span > 20 * 3600 && (isNewDay || clock.startsWith("00:00")) ? dayOf(ms) : short;
    });
}

/** What is drawn over and under the lines. */
export interface Drawn {
  thresholds: Threshold[];
  bands: Band[];
}

export function drawBands(plot: uPlot, { bands }: Drawn): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const band of bands) {
    const left = plot.valToPos(band.from / 1000, "x", true);
    const right = Math.max(plot.valToPos(band.to / 1000, "x", true), left + devicePixelRatio);
    const colour = css(band.state === "firing" ? "--firing" : "--pending");
    ctx.globalAlpha = band.state === "firing" ? 0.13 : 0.12;
    ctx.fillStyle = colour;
    ctx.fillRect(left, bbox.top, right - left, bbox.height);
    ctx.globalAlpha = 0.9;
    ctx.fillRect(left, bbox.top + bbox.height - 3 * devicePixelRatio, right - left, 3 * devicePixelRatio);
  }
  ctx.restore();
}

export function drawThresholds(plot: uPlot, { thresholds }: Drawn): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  ctx.font = `${11 * devicePixelRatio}px "Geist Variable", system-ui`;
  for (const threshold of thresholds) {
    const y = Math.round(plot.valToPos(threshold.value, "y", true)) + 0.5;
    if (y < bbox.top || y > bbox.top + bbox.height) {
      continue;
    }
    const colour = css(threshold.soft ? "--recovering" : "--firing");
    ctx.strokeStyle = colour;
    ctx.fillStyle = colour;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    ctx.fillText(threshold.label, bbox.left + bbox.width - 4 * devicePixelRatio, y - 3 * devicePixelRatio);
  }
  ctx.restore();
}
