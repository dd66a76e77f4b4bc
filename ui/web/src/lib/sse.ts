/** One server-sent event. */
export interface SseEvent {
  name: string;
  id: string | null;
  data: string;
}

/** Takes a stream of text apart into server-sent events, as the HTML standard says, whatever the pieces it comes in. */
export class SseParser {
  #rest = "";
  #name = "message";
  #id: string | null = null;
  #data: string[] = [];

  /** The events that this piece completes. */
  push(piece: string): SseEvent[] {
    const events: SseEvent[] = [];
    this.#rest += piece;
    const lines = this.#rest.split(/\r\n|\n|\r/);
    // A CR at the end may be half a CRLF.
    this.#rest = this.#rest.endsWith("\r") ? `${lines.at(-2) ?? ""}\r` : (lines.at(-1) ?? "");
    for (const line of lines.slice(0, this.#rest.endsWith("\r") ? -2 : -1)) {
      const event = this.#line(line);
      if (event) {
        events.push(event);
      }
    }
    return events;
  }

  #line(line: string): SseEvent | null {
    if (line === "") {
      const event = { name: this.#name, id: this.#id, data: this.#data.join("\n") };
      const has = this.#data.length > 0;
      this.#name = "message";
      this.#data = [];
      return has ? event : null;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") {
      this.#name = value;
    } else if (field === "data") {
      this.#data.push(value);
    } else if (field === "id") {
      this.#id = value;
    }
    return null;
  }
}
