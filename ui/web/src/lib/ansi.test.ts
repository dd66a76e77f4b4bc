import { expect, it } from "vitest";
import { newAnsi, plainLine, pushAnsi } from "./ansi";

function shown(...pieces: string[]) {
  const ansi = newAnsi();
  for (const piece of pieces) {
    pushAnsi(ansi, piece);
  }
  return ansi.lines;
}

it("keeps colours over lines, and drops what moves the cursor", () => {
  const lines = shown("a \x1b[1;31mred\nstill\x1b[0m off\x1b[2J\x1b[H!");
  expect(lines.map(plainLine)).toEqual(["a red", "still off!"]);
  expect(lines[0]?.[1]).toEqual({ text: "red", look: { bold: true, fg: 1 } });
  expect(lines[1]?.[1]?.look).toEqual({});
});

it("reads escapes that come in pieces", () => {
  expect(shown("x\x1b", "[3", "2mok")).toEqual([
    [
      { text: "x", look: {} },
      { text: "ok", look: { fg: 2 } },
    ],
  ]);
});

it("shows what a lone carriage return leaves", () => {
  expect(shown("10%\r50%\r\n100%\rdone").map(plainLine)).toEqual(["50%", "done"]);
  expect(shown("line\r\nnext").map(plainLine)).toEqual(["line", "next"]);
});

it("knows 256 and true colours", () => {
  const [line] = shown("\x1b[38;5;196mA\x1b[48;2;1;2;3mB\x1b[38;5;244mC");
  expect(line?.map((run) => run.look)).toEqual([
    { fg: "#ff0000" },
    { fg: "#ff0000", bg: "#010203" },
    { fg: "#808080", bg: "#010203" },
  ]);
});

it("drops titles, links and control characters", () => {
  expect(shown("\x1b]0;title\x07a\x00\x01b\x1b]8;;http://x\x1b\\c").map(plainLine)).toEqual(["abc"]);
});
