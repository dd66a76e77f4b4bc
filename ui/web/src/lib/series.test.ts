import { expect, it } from "vitest";
import { align, csv, type Point, seriesLabels, sparkline, valueBefore } from "./series";

const line = (key: string, points: Point[]) => ({ key, label: key, points });

it("puts series with other times on one axis without breaking them", () => {
  const { times, values } = align(
    [
      line("a", [
        [1000, 1],
        [3000, 3],
      ]),
      line("b", [
        [2000, 2],
        [4000, 4],
      ]),
    ],
    2000,
  );
  expect(times).toEqual([1, 2, 3, 4]);
  expect(values[0]).toEqual([1, undefined, 3, undefined]);
  expect(values[1]).toEqual([undefined, 2, undefined, 4]);
});

it("breaks a line where samples are missing", () => {
  const { times, values } = align(
    [
      line("a", [
        [1000, 1],
        [2000, 2],
        [9000, 9],
      ]),
    ],
    1000,
  );
  expect(times).toEqual([1, 2, 3, 9]);
  expect(values[0]).toEqual([1, 2, null, 9]);
});

it("names series by what differs", () => {
  expect(
    seriesLabels([
      { node: "a", instance: "x" },
      { node: "a", instance: "y" },
    ]),
  ).toEqual(["x", "y"]);
  expect(seriesLabels([{ node: "a", instance: "x" }])).toEqual(["a x"]);
  expect(seriesLabels([{}])).toEqual(["all"]);
});

it("finds the value under the cursor of a line that has no sample just there", () => {
  expect(valueBefore([1, undefined, undefined], 2)).toBe(1);
  expect(valueBefore([1, null, undefined], 2)).toBeNull();
});

it("draws small pictures", () => {
  expect(sparkline([], 10, 10)).toBe("");
  expect(
    sparkline(
      [
        [0, 0],
        [10, 1],
      ],
      100,
      10,
    ),
  ).toBe("0.0,9.0 100.0,1.0");
});

it("writes CSV that a spreadsheet takes for text", () => {
  expect(
    csv(
      ["time", "a,b"],
      [
        [1, '=cmd("x")'],
        [2, -3],
        [3, null],
      ],
    ),
  ).toBe('time,"a,b"\r\n1,"\'=cmd(""x"")"\r\n2,-3\r\n3,');
});

it("aligns 50 series of a day at 10 s in reasonable time", () => {
  const lines = Array.from({ length: 50 }, (_, series) =>
    line(
      String(series),
      Array.from({ length: 8640 }, (_, at) => [at * 10_000, Math.sin(at / 100 + series)] as Point),
    ),
  );
  const { times, values } = align(lines, 10_000);
  expect([times.length, values.length]).toEqual([8640, 50]);
});
