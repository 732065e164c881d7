/** What is told, to the log and to whoever watches, of attempts that came to nothing. */
import type { PeerId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { AttemptId } from "../model/run.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";

export interface AttemptNewsInit {
  readonly log: Log;
  readonly events: EventHub;
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

/** Its worker came with it when it was over. */
export function tellRefused({ log, events }: AttemptNewsInit, { id, worker }: AttemptOn, reason: string): void {
  const { task, run, attempt } = id;
  log.info("a worker came back too late with an attempt, which is refused", { ...id, worker, reason });
  events.publish({ type: "attempt", task, run, attempt, worker, state: "refused", reason });
}

/** Likewise, if it is known why. Never rejects. */
export async function tellWhyRefused(
  init: AttemptNewsInit & { readonly store: Pick<Store, "getRun"> },
  { id, worker }: AttemptOn,
): Promise<void> {
  try {
    const run = await init.store.getRun(id.task, id.run);
    const attempt = run?.serial === id.serial ? run.attempts.find(({ number }) => number === id.attempt) : undefined;
    if (attempt?.state !== "lost" || attempt.worker !== worker || attempt.outcome?.kind !== "lost") return;
    tellRefused(init, { id, worker }, attempt.outcome.reason);
  } catch (error) {
    init.log.debug("what became of a late attempt could not be read", { ...id, error });
  }
}
