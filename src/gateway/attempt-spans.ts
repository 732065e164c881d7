/** The spans of an attempt: itself, from its lease to its settlement, and the call to its worker in it. */
import type { PeerId } from "../base/ids.ts";
import type { Span, Tracer } from "../base/tracing.ts";
import type { AttemptId } from "../model/run.ts";
import type { TaskSpec } from "../model/task.ts";

export interface AttemptSpans {
  readonly attempt: Span;
  readonly call: Span;
}

/** A task's first run is a part of the submission; later ones, however many there will be, have only come of it. */
export function startAttempt(tracer: Tracer, id: AttemptId, { traceparent }: TaskSpec, worker: PeerId): Span {
  return tracer.start("attempt", {
    ...(id.run === 1 ? { parent: traceparent } : { link: traceparent }),
    attributes: {
      "capmesh.task": id.task,
      "capmesh.run": id.run,
      "capmesh.attempt": id.attempt,
      "capmesh.worker": worker,
    },
  });
}

export function startCall(tracer: Tracer, attempt: Span): Span {
  return tracer.start("Worker.run", {
    kind: "client",
    parent: attempt.traceparent,
    attributes: { "rpc.system": "capnproto", "rpc.service": "Worker", "rpc.method": "run" },
  });
}

export function endSpan(span: Span | undefined, problem: string | undefined): void {
  if (problem !== undefined) span?.fail(problem);
  span?.end();
}
