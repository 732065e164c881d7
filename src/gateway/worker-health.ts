/**
 * What is known of how workers do, and which of their offers may be used because of it. Two things keep runs away:
 * a *rest* of at most seconds, for a worker that loses one attempt after the other, whoever is to blame; and *quarantine*,
 * for one that fails what others run.
 */
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { AttemptId } from "../model/run.ts";
import { type EndedAttempt, Quarantine, type QuarantineView } from "./quarantine.ts";
import { WorkerRests } from "./worker-rests.ts";

export interface WorkerHealthInit {
  readonly clock: Clock;
  readonly random: Random;
  /** What `quarantineOf` says of this worker has changed. */
  readonly onChange: (worker: PeerId) => void;
  /** A rest has ended before its time. */
  readonly onRested: () => void;
}

export class WorkerHealth {
  readonly #rests: WorkerRests;
  readonly #quarantine: Quarantine;
  readonly #onRested: () => void;

  constructor(init: WorkerHealthInit) {
    this.#rests = new WorkerRests(init);
    this.#quarantine = new Quarantine(init);
    this.#onRested = init.onRested;
  }

  /** The worker is given this attempt. */
  began(id: AttemptId, worker: PeerId): void {
    this.#quarantine.began(id, worker);
  }

  /** Said once for each attempt that began. */
  ended(end: EndedAttempt): void {
    if (end.sign === "lost") this.#rests.failed(end.worker);
    const hasRested = end.sign !== "lost" && end.sign !== "nothing" && this.#rests.worked(end.worker);
    this.#quarantine.ended(end);
    if (hasRested) this.#onRested();
  }

  /** How many of its offers may be used now: a worker on trial gets one run. */
  usableOffers(worker: PeerId): number {
    if (this.#rests.isResting(worker)) return 0;
    switch (this.#quarantine.standing(worker)) {
      case "trusted":
        return Infinity;
      case "on-trial":
        return 1;
      case "quarantined":
      case "probed":
        return 0;
    }
  }

  /** It may be given any run now, as soon as it has a free slot. */
  isTrusted(worker: PeerId): boolean {
    return this.usableOffers(worker) === Infinity;
  }

  /**
   * How long until more offers may be used; undefined when nothing waited for time at `sinceMs` (by the monotonic clock).
   * Not above 0 for what has changed since then.
   */
  nextChangeInMs(sinceMs: number): number | undefined {
    const waits = [this.#rests.nextEndInMs(sinceMs), this.#quarantine.nextTrialInMs(sinceMs)].filter(
      (each) => each !== undefined,
    );
    return waits.length === 0 ? undefined : Math.min(...waits);
  }

  quarantineOf(worker: PeerId): QuarantineView | undefined {
    return this.#quarantine.view(worker);
  }

  /** An operator trusts it. False: it was trusted. */
  lift(worker: PeerId): boolean {
    return this.#quarantine.lift(worker);
  }
}
