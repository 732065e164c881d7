/**
 * One live stream of server-sent events to one reader: pings keep it open, its buffer has a limit, and a reader that
 * takes nothing is cut off. It may come back and resume where it was.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { SSE_PING, type SseEventInit, formatSse } from "../../api/sse.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import {
  SSE_BUFFER_BYTES_MAX,
  SSE_CONNECTIONS_MAX,
  SSE_CONNECTIONS_PER_TOKEN_MAX,
  SSE_PING_EVERY_MS,
} from "../../base/limits.ts";
import type { Grant } from "../grant.ts";
import { drained } from "./drained.ts";
import { Refusal } from "./problem.ts";

/** When a reader that was cut off comes back, in milliseconds. */
const RETRY_MS = 1_000;

/** All live streams of a server, to count and to end them. */
export class SseStreams {
  readonly #clock: Clock;
  readonly #grants: WeakMap<IncomingMessage, Grant>;
  readonly #open = new Set<SseStream>();
  readonly #openOf = new WeakMap<Grant, number>();
  #isClosed = false;

  /** `grants` says on which each request is made. */
  constructor(clock: Clock, grants: WeakMap<IncomingMessage, Grant>) {
    this.#clock = clock;
    this.#grants = grants;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Throws a Refusal when too many are open, of all or on the token, or the server is closing. The caller ends the stream. */
  open(response: ServerResponse): SseStream {
    if (this.#isClosed || this.#open.size >= SSE_CONNECTIONS_MAX) {
      throw new Refusal("too-many-streams", "The gateway has no room for another live stream: try again in a moment.", {
        headers: { "retry-after": "2" },
      });
    }
    const release = this.#hold(this.#grants.get(response.req));
    const stream = new SseStream(response, this.#clock, () => {
      this.#open.delete(stream);
      release();
    });
    this.#open.add(stream);
    // Whoever asks only for the head has it now.
    if (response.req.method === "HEAD") stream.end();
    return stream;
  }

  /** Counts one more on the grant; what it returns is to be called once. */
  #hold(grant: Grant | undefined): () => void {
    if (grant?.token === undefined) return () => {};
    const count = this.#openOf.get(grant) ?? 0;
    if (count >= SSE_CONNECTIONS_PER_TOKEN_MAX) {
      throw new Refusal(
        "too-many-streams",
        `${count} live streams are open on this token: end one, or try again later.`,
        {
          headers: { "retry-after": "2" },
        },
      );
    }
    this.#openOf.set(grant, count + 1);
    return () => void this.#openOf.set(grant, (this.#openOf.get(grant) ?? 1) - 1);
  }

  /** Ends every stream without an `end` event, so that its reader comes back elsewhere or later. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#open) stream.end();
  }
}

export class SseStream {
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #gone = new AbortController();
  readonly #onEnd: () => void;
  #ping: Timer;

  constructor(response: ServerResponse, clock: Clock, onEnd: () => void) {
    this.#response = response;
    this.#clock = clock;
    this.#onEnd = onEnd;
    response.on("close", () => this.#finish()).on("error", () => this.#finish());
    response.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    });
    response.write(`retry: ${RETRY_MS}\n\n`);
    this.#ping = this.#armPing();
  }

  /** Aborted when the stream has ended, for whatever reason. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Sends now, or cuts the reader off if too much waits for it already. */
  send(event: SseEventInit): void {
    this.sendBytes(formatSse(event));
  }

  /** The same for whole events that others are sent too. */
  sendBytes(events: string | Uint8Array): void {
    if (this.signal.aborted) return;
    this.#response.write(events);
    if (this.#response.writableLength > SSE_BUFFER_BYTES_MAX) this.cut();
  }

  /** Tells where to resume, without an event. */
  mark(id: string): void {
    if (!this.signal.aborted) this.#response.write(`id: ${id}\n\n`);
  }

  /** Resolves when the reader has taken enough for more. A reader that takes nothing for long is cut off. */
  async ready(): Promise<void> {
    await drained(this.#response, { clock: this.#clock, signal: this.signal, onStall: () => this.cut() });
  }

  /** Ends after what was sent. */
  end(): void {
    if (this.signal.aborted) return;
    this.#response.end();
    this.#finish();
  }

  /** Ends at once; what waits is dropped. */
  cut(): void {
    this.#response.destroy();
    this.#finish();
  }

  #armPing(): Timer {
    return this.#clock.setTimer(SSE_PING_EVERY_MS, () => {
      if (this.signal.aborted) return;
      if (!this.#response.writableNeedDrain) this.#response.write(SSE_PING);
      this.#ping = this.#armPing();
    });
  }

  #finish(): void {
    if (this.signal.aborted) return;
    this.#ping[Symbol.dispose]();
    this.#gone.abort();
    this.#onEnd();
  }
}
