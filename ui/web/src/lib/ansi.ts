/** What a terminal would show of bytes from a host: text in runs of one look. Everything else that an escape can do is dropped. */

export interface Look {
  /** 0 to 15, or `#rrggbb`. */
  fg?: number | string;
  bg?: number | string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
}

export interface Run {
  text: string;
  look: Look;
}

/** A line under construction and the look that goes on after it. */
export interface Ansi {
  lines: Run[][];
  look: Look;
  /** An escape that has not come whole. */
  rest: string;
  /** The next character begins the line anew (after a lone CR). */
  overwrite: boolean;
}

export function newAnsi(): Ansi {
  return { lines: [[]], look: {}, rest: "", overwrite: false };
}

const LEVELS = [0, 95, 135, 175, 215, 255];

function indexed(n: number): number | string {
  if (n < 16) {
    return n;
  }
  const hex = (r: number, g: number, b: number) => `#${[r, g, b].map((c) => c.toString(16).padStart(2, "0")).join("")}`;
  if (n >= 232) {
    const grey = 8 + (n - 232) * 10;
    return hex(grey, grey, grey);
  }
  const level = (at: number) => LEVELS[at] ?? 0;
  const cube = n - 16;
  return hex(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6));
}

function sgr(look: Look, codes: number[]): Look {
  let next = { ...look };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 0) {
      next = {};
    } else if (code === 1) {
      next.bold = true;
    } else if (code === 2) {
      next.dim = true;
    } else if (code === 3) {
      next.italic = true;
    } else if (code === 4) {
      next.underline = true;
    } else if (code === 22) {
      delete next.bold;
      delete next.dim;
    } else if (code === 23) {
      delete next.italic;
    } else if (code === 24) {
      delete next.underline;
    } else if (code >= 30 && code <= 37) {
      next.fg = code - 30;
    } else if (code >= 90 && code <= 97) {
      next.fg = code - 82;
    } else if (code >= 40 && code <= 47) {
      next.bg = code - 40;
    } else if (code >= 100 && code <= 107) {
      next.bg = code - 92;
    } else if (code === 39) {
      delete next.fg;
    } else if (code === 49) {
      delete next.bg;
    } else if (code === 38 || code === 48) {
      const place = code === 38 ? "fg" : "bg";
      if (codes[at + 1] === 5) {
        next[place] = indexed(Math.min(255, codes[at + 2] ?? 0));
        at += 2;
      } else if (codes[at + 1] === 2) {
        const hex = [2, 3, 4].map((by) =>
          Math.min(255, codes[at + by] ?? 0)
            .toString(16)
            .padStart(2, "0"),
        );
        next[place] = `#${hex.join("")}`;
        at += 4;
      }
    }
  }
  return next;
}

const ESCAPE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escapes are what is looked for
  /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ\\`-~])/y;
/** An escape longer than this is no escape. */
const ESCAPE_MAX = 4096;

/** Goes on with a piece of output. Changes `ansi` in place; lines before the last are finished. */
export function pushAnsi(ansi: Ansi, piece: string): void {
  const text = ansi.rest + piece;
  ansi.rest = "";
  let plain = "";
  const flush = () => {
    if (plain !== "") {
      ansi.lines.at(-1)?.push({ text: plain, look: ansi.look });
      plain = "";
    }
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? "";
    if (char === "\n") {
      flush();
      ansi.lines.push([]);
      ansi.overwrite = false;
    } else if (char === "\r") {
      flush();
      ansi.overwrite = true;
    } else if (char === "\x1b") {
      ESCAPE.lastIndex = at;
      const found = ESCAPE.exec(text);
      if (!found) {
        if (text.length - at < ESCAPE_MAX) {
          flush();
          ansi.rest = text.slice(at);
          return;
        }
        continue;
      }
      if (found[2] === "m") {
        flush();
        const codes = (found[1] ?? "").split(/[;:]/).map((code) => Number.parseInt(code || "0", 10) || 0);
        ansi.look = sgr(ansi.look, codes);
      }
      at += found[0].length - 1;
    } else if (char === "\b") {
      plain = plain.slice(0, -1);
    } else if (char === "\t" || char >= " ") {
      if (ansi.overwrite) {
        ansi.lines[ansi.lines.length - 1] = [];
        ansi.overwrite = false;
      }
      plain += char;
    }
  }
  flush();
}

/** The text of a line without its looks. */
export function plainLine(runs: Run[]): string {
  return runs.map((run) => run.text).join("");
}
