import { useNavigate } from "react-router";

/** A run, to go to. */
export interface Mark {
  at: number;
  run: number;
  title: string;
  tone: string;
}

/** Marks closer than this are one, which leads to all of them. */
const MARK_PX = 24;
const MARKED_MAX = 24;

interface Group {
  left: number;
  marks: Mark[];
}

function grouped(marks: Mark[], from: number, to: number, width: number): Group[] {
  const groups: Group[] = [];
  const shown = marks.filter((mark) => mark.at >= from && mark.at <= to).sort((a, b) => a.at - b.at);
  for (const mark of shown) {
    const left = ((mark.at - from) / (to - from)) * width;
    const last = groups.at(-1);
    if (last && left - last.left < MARK_PX) {
      last.marks.push(mark);
    } else {
      groups.push({ left, marks: [mark] });
    }
  }
  return groups;
}

/** Runs above a graph, each leading to its page. */
export function Marks({
  marks,
  from,
  to,
  box,
}: {
  marks: Mark[];
  from: number;
  to: number;
  /** Where the plot is within its place, in px. */
  box: { left: number; width: number };
}) {
  const navigate = useNavigate();
  return (
    <div className="marks">
      {grouped(marks, from, to, box.width).map(({ left, marks: near }) => {
        const where = `/runs/${near
          .slice(-MARKED_MAX)
          .map((mark) => mark.run)
          .join(",")}`;
        const words = near
          .slice(-MARKED_MAX)
          .map((mark) => mark.title)
          .join("\n");
        const worst = near.find((mark) => mark.tone === "firing") ?? near.at(-1);
        return (
          <a
            key={where}
            href={where}
            className={`tone-${worst?.tone}`}
            style={{ left: box.left + left }}
            title={words}
            aria-label={words}
            onClick={(event) => {
              if (!event.metaKey && !event.ctrlKey) {
                event.preventDefault();
                void navigate(where);
              }
            }}
          >
            {near.length > 1 && near.length}
          </a>
        );
      })}
    </div>
  );
}
