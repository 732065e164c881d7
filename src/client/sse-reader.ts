/**
 * Server-sent events over as many connections as it takes: one that ends is opened again where it ended, so that what
 * comes out is gap-free and without repeats. A stream has no end of its own: who reads stops reading.
 */
import { type SseEvent, SseParser } from "../api/sse.ts";
import type { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { ClusterError, failed } from "../base/errors.ts";
import type { ExchangeOptions, HttpExchange } from "./http-exchange.ts";

export interface SseReaderInit {
  readonly exchange: HttpExchange;
  readonly clock: Clock;
  readonly backoff: Backoff;
  /** How long to try to reach a gateway that went away. */
  readonly reconnectMsMax: number;
}

export interface SseRequest {
  readonly path: string;
  readonly query?: ExchangeOptions["query"];
  /** In place of `query`, once it is resumed. */
  readonly resumedQuery?: ExchangeOptions["query"];
  readonly signal?: AbortSignal | undefined;
}

/** Rejects as the exchange does when a gateway that was never reached cannot be, or one that was is away for too long. */
export async function* readSse(init: SseReaderInit, request: SseRequest): AsyncGenerator<SseEvent, never> {
  const { clock, backoff } = init;
  const connection = new SseConnection(init.exchange, request);
  let silentSince: number | undefined;
  for (;;) {
    try {
      for await (const event of connection.read()) {
        silentSince = undefined;
        backoff.reset();
        yield event;
      }
    } catch (thrown) {
      if (!isWorthRetrying(thrown, connection)) throw thrown;
      silentSince ??= clock.monotonicMs();
      if (clock.monotonicMs() - silentSince > init.reconnectMsMax) throw thrown;
    }
    await sleep(clock, backoff.nextMs(), { signal: request.signal });
  }
}

/** The event's data as JSON; checked by the caller. Throws `failed`, code `bad-answer`. */
export function parseEventData({ data }: SseEvent): unknown {
  try {
    return JSON.parse(data);
  } catch (thrown) {
    throw failed("the gateway sent an event that cannot be read", { code: "bad-answer", cause: thrown });
  }
}

/** A gateway that was never reached is told of at once: the address may be wrong. */
function isWorthRetrying(thrown: unknown, connection: SseConnection): boolean {
  if (!(thrown instanceof ClusterError) || !connection.wasOpen) return false;
  return thrown.code === "unreachable" || thrown.type === "overloaded";
}

/** What is kept from one connection to the next. */
class SseConnection {
  readonly #exchange: HttpExchange;
  readonly #request: SseRequest;
  #lastId = "";
  wasOpen = false;

  constructor(exchange: HttpExchange, request: SseRequest) {
    this.#exchange = exchange;
    this.#request = request;
  }

  /** The events of one connection. Ends with it. */
  async *read(): AsyncGenerator<SseEvent, void> {
    const { path, query, resumedQuery, signal } = this.#request;
    const isResumed = this.#lastId !== "";
    const response = await this.#exchange.open(path, {
      query: isResumed ? (resumedQuery ?? query) : query,
      headers: { accept: "text/event-stream", ...(isResumed && { "last-event-id": this.#lastId }) },
      signal,
    });
    this.wasOpen = true;
    const parser = new SseParser(this.#lastId);
    const decoder = new TextDecoder();
    for await (const bytes of this.#pieces(response)) {
      for (const event of parser.push(decoder.decode(bytes, { stream: true }))) {
        this.#lastId = event.id;
        yield event;
      }
      // The stream may say where it is without an event.
      this.#lastId = parser.lastId;
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
      throw this.#exchange.unreachable(thrown, this.#request.signal);
    } finally {
      // Not awaited: a connection that hangs must not hold up whoever stops reading.
      reader.cancel().catch(() => {});
    }
  }
}
