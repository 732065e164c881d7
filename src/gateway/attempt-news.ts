/** What is told, to the log and to whoever watches, of attempts that came to nothing. */
import type { PeerId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Attempt, AttemptId, Run } from "../model/run.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";
import type { RefusalCause, RunMeter } from "./run-meter.ts";

export interface AttemptNewsInit {
  readonly log: Log;
  readonly events: EventHub;
}

export interface LateNewsInit extends AttemptNewsInit {
  readonly store: Pick<Store, "getRun">;
  readonly meter: Pick<RunMeter, "refused">;
}

export interface AttemptOn {
  readonly id: AttemptId;
  readonly worker: PeerId;
}

export function tellLost({ log, events }: AttemptNewsInit, { id, worker }: AttemptOn, reason: string): void {
  const { task, run, attempt } = id;
  log.warn("an attempt was lost", { ...id, worker, reason });
  events.publish({ type: "attempt", task, run, attempt, worker, state: "lost", reason });
}

/** Its outcome came when it was over, and is refused. Resolves once that is counted; never rejects. */
export async function tellLateOutcome(init: LateNewsInit, on: AttemptOn): Promise<void> {
  tellRefused(init, on, "the attempt was over before");
  const { id } = on;
  try {
    const cause = causeOf(await init.store.getRun(id.task, id.run), id);
    if (cause !== undefined) init.meter.refused(cause);
  } catch (error) {
    init.log.debug("what became of a late attempt could not be read", { ...id, error });
  }
}

/** Its worker came back with it, and that is told where it was lost. Never rejects. */
export async function tellLateReturn(init: LateNewsInit, { id, worker }: AttemptOn): Promise<void> {
  try {
    const run = await init.store.getRun(id.task, id.run);
    const attempt = attemptOf(run, id);
    if (attempt?.state !== "lost" || attempt.worker !== worker || attempt.outcome?.kind !== "lost") return;
    tellRefused(init, { id, worker }, attempt.outcome.reason);
    const cause = causeOf(run, id);
    if (cause !== undefined) init.meter.refused(cause);
  } catch (error) {
    init.log.debug("what became of a late attempt could not be read", { ...id, error });
  }
}

function tellRefused({ log, events }: AttemptNewsInit, { id, worker }: AttemptOn, reason: string): void {
  const { task, run, attempt } = id;
  log.info("a worker came back too late with an attempt, which is refused", { ...id, worker, reason });
  events.publish({ type: "attempt", task, run, attempt, worker, state: "refused", reason });
}

/** The task may be another one by now, of the same id. */
function attemptOf(run: Run | undefined, { serial, attempt }: AttemptId): Attempt | undefined {
  return run?.serial === serial ? run.attempts.find(({ number }) => number === attempt) : undefined;
}

/** Undefined: what came of it was not refused, or not for good. */
function causeOf(run: Run | undefined, id: AttemptId): RefusalCause | undefined {
  if (run?.serial !== id.serial) return "deleted";
  if (run.attempts.some(({ number }) => number > id.attempt)) return "superseded";
  const state = attemptOf(run, id)?.state;
  return state === "lost" || state === "cancelled" ? state : undefined;
}
