import { useNow } from "../../app/prefs";
import { duration } from "../../lib/runs";
import { spanText } from "../../lib/time";

export function Took({ begin, end }: { begin: string | null | undefined; end: string | null | undefined }) {
  const now = useNow(end ? 3_600_000 : 1000);
  const ms = duration(begin, end, now);
  return ms === null ? <span className="quiet">–</span> : <span className="num">{spanText(Math.max(0, ms))}</span>;
}
