/**
 * Reads a run's log as it grows. A connection that ends before the log does is opened again where it ended, so that
 * what comes out is gap-free and without repeats.
 */
import { SseParser } from "../api/sse.ts";
import { logEndSchema, logTextSchema, logTruncatedSchema } from "../api/log-event.ts";
import type { LogEndJson, LogTruncatedJson } from "../api/log-event.ts";
import { ROUTES } from "../api/routes.ts";
import type { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { ClusterError, failed } from "../base/errors.ts";
import type { HttpExchange } from "./http-exchange.ts";

export interface LogOptions {
  /** Default: the latest started; with `follow` and none started, the first to start. */
  readonly run?: number | "all" | undefined;
  readonly stream?: "stdout" | "stderr" | undefined;
  /** Where to begin, in bytes of the run's log. Not with `run: "all"`. */
  readonly offset?: number | undefined;
  /** Go on until the run is over; with `run: "all"`, the task. Default: end with what is there. */
  readonly follow?: boolean | undefined;
  /** The guest wrote more than was kept. */
  readonly onTruncated?: ((truncated: LogTruncatedJson) => void) | undefined;
  /** The log is complete; the state is the run's, or the task's with `run: "all"`. */
  readonly onEnd?: ((end: LogEndJson) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A piece of a run's log. */
export interface LogChunk {
  readonly run: number;
  readonly attempt: number;
  /** Of the first byte, in the run's log. */
  readonly offset: number;
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

export interface LogReaderInit {
  readonly exchange: HttpExchange;
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** How long to try to reach a gateway that went away. */
  readonly reconnectMsMax: number;
}

export async function* readLog(init: LogReaderInit, id: string, options: LogOptions): AsyncGenerator<LogChunk, void> {
  const { clock, backoff } = init;
  const connection = new LogConnection(init.exchange, id, options);
  let silentSince: number | undefined;
  for (;;) {
    try {
      for await (const chunk of connection.read()) {
        silentSince = undefined;
        backoff.reset();
        yield chunk;
      }
      if (connection.hasEnded) return;
    } catch (thrown) {
      if (!isWorthRetrying(thrown, connection)) throw thrown;
      silentSince ??= clock.monotonicMs();
      if (clock.monotonicMs() - silentSince > init.reconnectMsMax) throw thrown;
    }
    await sleep(clock, backoff.nextMs(), { signal: options.signal });
  }
}

/** A gateway that was never reached is told of at once: the address may be wrong. */
function isWorthRetrying(thrown: unknown, connection: LogConnection): boolean {
  if (!(thrown instanceof ClusterError) || !connection.wasOpen) return false;
  return thrown.code === "unreachable" || thrown.type === "overloaded";
}

/** What is kept from one connection to the next. */
class LogConnection {
  readonly #exchange: HttpExchange;
  readonly #id: string;
  readonly #options: LogOptions;
  #lastId = "";
  wasOpen = false;
  hasEnded = false;

  constructor(exchange: HttpExchange, id: string, options: LogOptions) {
    this.#exchange = exchange;
    this.#id = id;
    this.#options = options;
  }

  /** The chunks of one connection. Ends with it; `hasEnded` says whether the log ended. */
  async *read(): AsyncGenerator<LogChunk, void> {
    const { run, stream, offset, follow, signal } = this.#options;
    const response = await this.#exchange.open(ROUTES.logs(this.#id), {
      query: { run, stream, offset: this.#lastId === "" ? offset : undefined, follow: follow === true ? 1 : 0 },
      headers: { accept: "text/event-stream", ...(this.#lastId === "" ? {} : { "last-event-id": this.#lastId }) },
      signal,
    });
    this.wasOpen = true;
    const parser = new SseParser(this.#lastId);
    const decoder = new TextDecoder();
    for await (const bytes of this.#pieces(response)) {
      for (const event of parser.push(decoder.decode(bytes, { stream: true }))) {
        if (event.event === "end") {
          this.hasEnded = true;
          this.#options.onEnd?.(logEndSchema.parse(parseEventData(event.data)));
          return;
        }
        this.#lastId = event.id;
        if (event.event === "truncated") {
          this.#options.onTruncated?.(logTruncatedSchema.parse(parseEventData(event.data)));
        }
        if (event.event === "stdout" || event.event === "stderr") {
          yield { ...logTextSchema.parse(parseEventData(event.data)), stream: event.event };
        }
      }
    }
  }

  async *#pieces(response: Response): AsyncGenerator<Uint8Array, void> {
    if (response.body === null) return;
    const reader = response.body.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        yield value;
      }
    } catch (thrown) {
      throw this.#exchange.unreachable(thrown, this.#options.signal);
    } finally {
      // Not awaited: a connection that hangs must not hold up whoever stops reading.
      reader.cancel().catch(() => {});
    }
  }
}

function parseEventData(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (thrown) {
    throw failed("the gateway sent an event that cannot be read", { code: "bad-answer", cause: thrown });
  }
}
