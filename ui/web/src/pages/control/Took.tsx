import { useNow } from "../../app/prefs";
import { duration } from "../../lib/runs";
import { spanText } from "../../lib/time";

/** Moments of runs are those of the log's clock, which ticks so often, in ms. */
const TICK = 200;

export function Took({ begin, end }: { begin: string | null | undefined; end: string | null | undefined }) {
  const now = useNow(end ? 3_600_000 : 1000);
  const ms = duration(begin, end, now);
  return ms === null ? <span className="quiet">–</span> : <span className="num">{tookText(ms)}</span>;
}

function tookText(ms: number): string {
  if (ms < TICK) {
    return `< ${TICK / 1000} s`;
  }
  return ms < 10_000 ? `${(ms / 1000).toFixed(1)} s` : spanText(ms);
}
