import { describe, expect, it } from "vitest";
import {
  counterName,
  grouped,
  guessedUnit,
  isCountable,
  kindred,
  matches,
  objectName,
  patternsFor,
  rowsOf,
  shownValue,
  typeText,
} from "./mbeans";

const POOL = "java.lang:type=MemoryPool,name=G1 Eden Space";

describe("names", () => {
  it("are taken apart, quotes and all", () => {
    expect(objectName(POOL)?.keys).toEqual([
      ["type", "MemoryPool"],
      ["name", "G1 Eden Space"],
    ]);
    expect(objectName('Catalina:type=ThreadPool,name="http-nio-80,81\\""')?.keys[1]).toEqual([
      "name",
      'http-nio-80,81"',
    ]);
    expect(objectName("nothing")).toBeNull();
    expect(objectName("a:b")).toBeNull();
  });

  it("fit the patterns that Java says they fit", () => {
    for (const [pattern, fits] of [
      [POOL, true],
      ["java.lang:type=MemoryPool,name=*", true],
      ["java.*:type=MemoryPool,*", true],
      ["java.lang:name=G1*,type=MemoryPool", true],
      ["java.lang:type=MemoryPool", false],
      ["java.lang:type=Memory,*", false],
      ["other:*", false],
    ] as const) {
      expect(matches(pattern, POOL), pattern).toBe(fits);
    }
    expect(kindred(POOL)).toBe("java.lang:type=MemoryPool,name=*");
    expect(kindred("java.lang:type=Memory")).toBeNull();
  });

  it("stand by their type, numbers in order", () => {
    const groups = grouped([
      "a:type=T,name=x10",
      "a:type=T,name=x9",
      "a:type=Alone",
      "a:type=T,name=b,scope=c",
      "a:k=v",
    ]);
    expect(groups.map((group) => [group.text, group.leaves.map((leaf) => leaf.text)])).toEqual([
      ["Alone", ["Alone"]],
      ["k=v", ["k=v"]],
      ["T", ["name=b, scope=c", "x9", "x10"]],
    ]);
  });

  it("become those of counters as the CLI has them", () => {
    expect(counterName("java.lang:type=Memory", "HeapMemoryUsage", "used")).toBe("memory-heap-memory-usage-used");
    expect(counterName("java.lang:type=GarbageCollector,name=*", "CollectionCount", "")).toBe(
      "garbage-collector-collection-count",
    );
    expect(counterName('Catalina:type=ThreadPool,name="http-nio-8080"', "maxThreads", "")).toBe(
      "thread-pool-http-nio-8080-max-threads",
    );
  });

  it("are looked for in domains, types and names", () => {
    expect(patternsFor("memory")).toContain("*:type=*Memory*,*");
    expect(patternsFor("java.lang:type=*")).toEqual(["java.lang:type=*"]);
    expect(patternsFor(" ")).toEqual([]);
  });
});

describe("values", () => {
  it("are unfolded into what a counter can name", () => {
    const rows = rowsOf("Usage", { used: 1, pools: { x: { max: 2 } }, list: [1, 2] });
    expect(rows.map((row) => [row.key, row.value])).toEqual([
      ["", undefined],
      ["used", 1],
      ["pools", undefined],
      ["pools.x", undefined],
      ["pools.x.max", 2],
      ["list", [1, 2]],
    ]);
    expect(rowsOf("Count", 3)).toMatchObject([{ attribute: "Count", key: "", depth: 0, value: 3 }]);
    // A key may hold dots of its own.
    expect(rowsOf("Table", { "a.b": 7 })[1]).toMatchObject({ key: "a.b", part: "a.b", depth: 1 });
  });

  it("are shown, and judged for counters", () => {
    expect([12345678, 0.25, null, " 42.5 ", [1]].map(shownValue)).toEqual([
      "12\u202f345\u202f678",
      "0.25",
      "null",
      " 42.5 ",
      "[1]",
    ]);
    expect([1, true, " 42.5 ", "words", "", null, [1]].map(isCountable)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
      false,
    ]);
    expect(typeText("[Ljava.lang.String;")).toBe("String[]");
    expect([typeText("[[J"), typeText("long"), typeText("javax.management.openmbean.CompositeData")]).toEqual([
      "long[][]",
      "long",
      "CompositeData",
    ]);
    expect([guessedUnit("HeapMemoryUsage", "used"), guessedUnit("ThreadCount", ""), guessedUnit("Uptime", "")]).toEqual(
      ["bytes", "threads", "ms"],
    );
  });
});
