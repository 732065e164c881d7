/**
 * A run's log as server-sent events: `stdout` and `stderr` carry text, `truncated` says that the guest wrote more than
 * was kept, `end` closes. An event's id is `<run>:<offset>`, where to read on.
 */
import { z } from "zod";

export const logTextSchema = z.object({
  run: z.number(),
  attempt: z.number(),
  /** Of the text's first byte in the run's log. */
  offset: z.number(),
  text: z.string(),
});

/** `offset` is the log's length: what was kept ends there. */
export const logTruncatedSchema = z.object({ run: z.number(), offset: z.number() });

/** The state of the run that was followed; of the task with `run=all`, or where no run has started. */
export const logEndSchema = z.object({ run: z.number().nullable(), state: z.string() });

export type LogTextJson = z.infer<typeof logTextSchema>;
export type LogTruncatedJson = z.infer<typeof logTruncatedSchema>;
export type LogEndJson = z.infer<typeof logEndSchema>;

/**
 * Where to read on: bytes of the run's log before `offset` have been seen, but for the beginnings of characters in
 * `held`, whose streams were interrupted by the other one.
 */
export interface LogPosition {
  readonly run: number;
  readonly offset: number;
  readonly held?: readonly HeldText[] | undefined;
}

/** The stream's bytes from `offset` up to the position's are the beginning of a character. */
export interface HeldText {
  readonly stream: "stdout" | "stderr";
  readonly offset: number;
}

/** `<run>:<offset>`, and `+<stream>@<offset>` for what is held. */
export function formatLogPosition({ run, offset, held = [] }: LogPosition): string {
  return `${run}:${offset}${held.map((text) => `+${text.stream}@${text.offset}`).join("")}`;
}

const POSITION = /^([1-9]\d{0,9}):(\d{1,15})((?:\+std(?:out|err)@\d{1,15}){0,2})$/;

/** Undefined where the text is no position. */
export function parseLogPosition(text: string): LogPosition | undefined {
  const match = POSITION.exec(text);
  if (match === null) return undefined;
  const [, run, offset, rest = ""] = match;
  const held = [...rest.matchAll(/\+(std(?:out|err))@(\d+)/g)].map(([, stream, heldOffset]) => ({
    stream: stream === "stdout" ? ("stdout" as const) : ("stderr" as const),
    offset: Number(heldOffset),
  }));
  return { run: Number(run), offset: Number(offset), held };
}
