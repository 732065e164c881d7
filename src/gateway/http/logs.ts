/** `/tasks/{id}/logs`: a run's log as its bytes, or live as server-sent events. */
import { type Request, type Response, Router } from "express";
import { type HeldText, formatLogPosition, parseLogPosition } from "../../api/log-event.ts";
import type { LogEndJson, LogTruncatedJson } from "../../api/log-event.ts";
import { shown } from "../../api/form-fields.ts";
import { COMPRESS_BYTES_MIN } from "../../base/limits.ts";
import type { Task } from "../../model/task.ts";
import type { OutputChunk } from "../../store/store.ts";
import { drained } from "./drained.ts";
import type { HttpContext } from "./http-context.ts";
import { type LogEvents, textEvent } from "./log-events.ts";
import { type LogFollowInit, followLog, readHeld } from "./log-follow.ts";
import { type LogText, LogTextReader } from "./log-text.ts";
import { invalidFields, noSuchTask } from "./problem.ts";
import { Query } from "./query.ts";
import { noSuchRun, parseRunIndex } from "./runs.ts";
import type { SseStream } from "./sse-stream.ts";
import { taskIdOf } from "./tasks.ts";

const STREAMS = ["stdout", "stderr"] as const;
/** Named, and not with the weight 0, by which a client says what it does not want. */
const EVENTS_ACCEPTED = /text\/event-stream(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/i;

export function logsRouter(context: HttpContext): Router {
  const router = Router();
  router.get("/tasks/:id/logs", async (request, response) => {
    const id = taskIdOf(request);
    const task = await context.store.getTask(id);
    if (task === undefined) throw noSuchTask(id);
    const follow = new Query(request).flag("follow");
    const wantsEvents = EVENTS_ACCEPTED.test(request.headers.accept ?? "");
    if (follow === true || wantsEvents) {
      const { follow: init, held } = parseLogQuery(context, request, task, follow ?? true);
      await sendLive(context, response, init, await readAllHeld(init, held));
    } else await sendPlain(context, response, parseLogQuery(context, request, task, false).follow);
  });
  return router;
}

interface LogQuery {
  readonly follow: LogFollowInit;
  /** Of the run that the follower begins with: what its reader was in the middle of. */
  readonly held: readonly HeldText[];
}

/** Throws a Refusal where the query makes no sense for this task. */
function parseLogQuery(context: HttpContext, request: Request, task: Task, isFollowing: boolean): LogQuery {
  const { store, events, logs } = context;
  const query = new Query(request);
  const run = query.text("run");
  const offset = query.integer("offset", { min: 0, max: Number.MAX_SAFE_INTEGER });
  const stream = query.choice("stream", STREAMS);
  const init = { store, events, logs, task: task.spec.id, stream, isFollowing };
  const resumed = parseLastEventId(request);
  const isForgotten = run === "all" && resumed !== undefined && resumed.run < task.firstRun;
  if (resumed !== undefined && !isForgotten && parseRunIndex(String(resumed.run), task) === undefined) {
    throw noSuchRun(task.spec.id, String(resumed.run), task);
  }
  if (run === "all") {
    if (offset !== undefined) {
      throw invalidFields([{ field: "offset", message: "counts the bytes of one run: name it, or leave offset out" }]);
    }
    // Where its run was forgotten meanwhile, a reader goes on with the first that is known.
    const from = resumed === undefined || isForgotten ? { run: task.firstRun, offset: 0 } : resumed;
    const follow = { ...init, selection: "all", offset: from.offset, fromRun: from.run } as const;
    return { follow, held: isForgotten ? [] : (resumed?.held ?? []) };
  }
  const index = run === undefined ? undefined : parseRunIndex(run, task);
  if (run !== undefined && index === undefined) throw noSuchRun(task.spec.id, run, task);
  const selection = index ?? resumed?.run ?? "latest";
  if (resumed === undefined || selection !== resumed.run) {
    return { follow: { ...init, selection, offset: offset ?? 0, fromRun: 1 }, held: [] };
  }
  return { follow: { ...init, selection, offset: resumed.offset, fromRun: selection }, held: resumed.held ?? [] };
}

/** Throws a Refusal where an id names what no event of this log has. */
async function readAllHeld(init: LogFollowInit, held: readonly HeldText[]): Promise<OutputChunk[]> {
  const chunks: OutputChunk[] = [];
  for (const { stream, offset } of held) {
    const chunk = await readHeld(init, init.fromRun, { stream, from: offset, to: init.offset });
    if (chunk === undefined) throw badEventId(`${stream}@${offset}`);
    chunks.push(chunk);
  }
  return chunks;
}

function parseLastEventId(request: Request): ReturnType<typeof parseLogPosition> {
  const text = request.headers["last-event-id"];
  if (typeof text !== "string" || text === "") return undefined;
  const position = parseLogPosition(text);
  if (position === undefined) throw badEventId(text);
  return position;
}

function badEventId(text: string): Error {
  const message = `has ${shown(text)}, and the id of an event of this log, <run>:<offset>, is expected`;
  return invalidFields([{ field: "Last-Event-ID", message }]);
}

async function sendPlain({ clock }: HttpContext, response: Response, init: LogFollowInit): Promise<void> {
  const gone = new AbortController();
  const { signal } = gone;
  response.on("close", () => gone.abort());
  response.setHeader("content-type", "text/plain; charset=utf-8");
  let onDrain = (): void => {};
  // One listener for all waits: what compresses does not let go of those that it was given.
  response.on("drain", () => onDrain());
  // A short log goes in one piece, so that it is seen to be short and not compressed.
  const head: Uint8Array[] = [];
  let headBytes = 0;
  const write = async (bytes: Uint8Array): Promise<void> => {
    const writing = { isTaken: response.write(bytes), onceDrained: (resume: () => void) => (onDrain = resume) };
    await drained(response, { clock, signal, writing, onStall: () => response.destroy() });
  };
  if (response.req.method !== "HEAD") {
    for await (const item of followLog(init, signal)) {
      if (item.kind !== "chunks") continue;
      const bytes = Buffer.concat(item.chunks.map((chunk) => chunk.bytes));
      if (headBytes >= COMPRESS_BYTES_MIN) await write(bytes);
      else {
        head.push(bytes);
        headBytes += bytes.length;
        if (headBytes >= COMPRESS_BYTES_MIN) await write(Buffer.concat(head));
      }
    }
  }
  if (headBytes < COMPRESS_BYTES_MIN) response.end(Buffer.concat(head));
  else response.end();
}

async function sendLive(
  { streams, log, logEvents }: HttpContext,
  response: Response,
  init: LogFollowInit,
  held: readonly OutputChunk[],
): Promise<void> {
  const stream = streams.open(response);
  try {
    await sendEvents(stream, logEvents, init, held);
  } catch (error) {
    if (stream.signal.aborted) return;
    // The reader resumes; an answer that says more cannot be given any more.
    log.warn("a live log was cut off", { task: init.task, error });
    stream.cut();
  }
  stream.end();
}

async function sendEvents(
  stream: SseStream,
  logEvents: LogEvents,
  init: LogFollowInit,
  held: readonly OutputChunk[],
): Promise<void> {
  let reader = new LogTextReader(init.offset, held);
  const sendTexts = (run: number, texts: readonly LogText[]): void => {
    for (const text of texts) stream.send(textEvent(run, text));
  };
  for await (const item of followLog(init, stream.signal)) {
    switch (item.kind) {
      case "chunks":
        for (const bytes of logEvents.encode(item.run, reader, item.chunks)) {
          stream.sendBytes(bytes);
          await stream.ready();
        }
        break;
      case "truncated": {
        sendTexts(item.run, reader.flush());
        const cut: LogTruncatedJson = { run: item.run, offset: item.outputBytes };
        stream.send({ event: "truncated", data: JSON.stringify(cut), id: formatLogPosition(cut) });
        break;
      }
      case "run-end":
        sendTexts(item.run, reader.flush());
        reader = new LogTextReader(0);
        break;
      case "end": {
        const end: LogEndJson = { run: item.run ?? null, state: item.state };
        stream.send({ event: "end", data: JSON.stringify(end) });
        break;
      }
    }
    await stream.ready();
  }
}
