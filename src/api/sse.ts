/**
 * Server-sent events, as the HTML standard has them: writing one, and reading them from pieces of text that are cut
 * anywhere.
 */
import { SSE_EVENT_LENGTH_MAX } from "../base/limits.ts";

export interface SseEvent {
  /** Default: `message`. */
  readonly event: string;
  readonly data: string;
  /** The last id that the stream named, this event's or an earlier one's. Empty: none. */
  readonly id: string;
}

export interface SseEventInit {
  readonly event: string;
  /** JSON text, or any other. */
  readonly data: string;
  readonly id?: string | undefined;
}

/** One event's text. `event` and `id` are ours and hold no line ends; `data` may. */
export function formatSse({ event, data, id }: SseEventInit): string {
  const lines = data.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`);
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${event}\n${lines.join("")}\n`;
}

/** A comment: keeps the connection alive, and no reader sees it. */
export const SSE_PING = ": ping\n\n";

/** Reads events from a stream's text. One parser per connection. */
export class SseParser {
  #rest = "";
  #endedInCr = false;
  #event = "";
  #data: string[] = [];
  #dataLength = 0;
  #id: string;

  /** `lastId` is where the connection before ended. */
  constructor(lastId = "") {
    this.#id = lastId;
  }

  get lastId(): string {
    return this.#id;
  }

  /** The events that `text` completes. Throws a RangeError when one is too long to hold. */
  push(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    let input = this.#endedInCr && text.startsWith("\n") ? text.slice(1) : text;
    if (text.length > 0) this.#endedInCr = text.endsWith("\r");
    input = this.#rest + input;
    const lines = input.split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = this.#take(line);
      if (event !== undefined) events.push(event);
    }
    if (this.#rest.length + this.#dataLength > SSE_EVENT_LENGTH_MAX)
      throw new RangeError("a server-sent event is too long");
    return events;
  }

  #take(line: string): SseEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.#event = value;
    if (field === "id" && !value.includes("\0")) this.#id = value;
    if (field === "data") {
      this.#data.push(value);
      this.#dataLength += value.length + 1;
    }
    return undefined;
  }

  #dispatch(): SseEvent | undefined {
    const event = { event: this.#event === "" ? "message" : this.#event, data: this.#data.join("\n"), id: this.#id };
    const isEmpty = this.#data.length === 0;
    this.#event = "";
    this.#data = [];
    this.#dataLength = 0;
    return isEmpty ? undefined : event;
  }
}
