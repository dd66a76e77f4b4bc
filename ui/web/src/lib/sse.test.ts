import { expect, it } from "vitest";
import { SseParser } from "./sse";

const text =
  ': watching\n\nevent:changes\nid:7\ndata:{"a":1}\n\nevent: reset\r\nid: 9\r\ndata: one\r\ndata: two\r\n\r\n';
const wanted = [
  { name: "changes", id: "7", data: '{"a":1}' },
  { name: "reset", id: "9", data: "one\ntwo" },
];

it("reads events whole", () => {
  expect(new SseParser().push(text)).toEqual(wanted);
});

it("reads events in whatever pieces they come", () => {
  for (let size = 1; size < text.length; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) {
      events.push(...parser.push(text.slice(at, at + size)));
    }
    expect(events).toEqual(wanted);
  }
});
