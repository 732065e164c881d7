/** Reads a run's log as it grows, gap-free and without repeats, over lost connections too. */
import { logEndSchema, logTextSchema, logTruncatedSchema } from "../api/log-event.ts";
import type { LogEndJson, LogTruncatedJson } from "../api/log-event.ts";
import { ROUTES } from "../api/routes.ts";
import { type SseReaderInit, parseEventData, readSse } from "./sse-reader.ts";

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

export async function* readLog(init: SseReaderInit, id: string, options: LogOptions): AsyncGenerator<LogChunk, void> {
  const { run, stream, offset, signal } = options;
  const query = { run, stream, follow: options.follow === true ? 1 : 0 };
  const request = { path: ROUTES.logs(id), query: { ...query, offset }, resumedQuery: query, signal };
  for await (const event of readSse(init, request)) {
    switch (event.event) {
      case "end":
        options.onEnd?.(logEndSchema.parse(parseEventData(event)));
        return;
      case "truncated":
        options.onTruncated?.(logTruncatedSchema.parse(parseEventData(event)));
        break;
      case "stdout":
      case "stderr":
        yield { ...logTextSchema.parse(parseEventData(event)), stream: event.event };
    }
  }
}
