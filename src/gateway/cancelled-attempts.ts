/**
 * Attempts that are cancelled in the store and whose guests may still run: their workers are told to end them, and when
 * one has said that its guest is over, the store is told, so that the run may be started again before the lease ends.
 *
 *     cancelled ──▶ its worker is told ──outcome──▶ over: the store knows
 *         ├── never given to a worker ────────────▶ over
 *         └── its worker is away ──comes back──▶ without it: over; with it: it is told
 *
 * Nothing here waits longer than a lease for a worker that does not answer: the lease in the store ends by itself. After
 * a restart nothing of this is known, and the leases decide alone.
 */
import { followAborts } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import { disconnected, toClusterError } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { CANCELLED_ATTEMPTS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { RunClient } from "../caps/run.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { Store } from "../store/store.ts";

export interface CancelledAttemptsInit {
  readonly store: Pick<Store, "noteEnded">;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** A run that is to run again waits no longer. */
  readonly onReady: () => void;
}

interface Cancelled {
  readonly id: AttemptId;
  readonly worker: PeerId;
}

export class CancelledAttempts {
  readonly #init: CancelledAttemptsInit;
  /** Not known to be over, the oldest first. */
  readonly #open = new Map<string, Cancelled>();
  readonly #closed = new AbortController();

  constructor(init: CancelledAttemptsInit) {
    this.#init = init;
  }

  /** It is cancelled in the store, and its worker has it or may have it. */
  add(cancelled: Cancelled): void {
    const [oldest] = this.#open.keys();
    if (this.#open.size >= CANCELLED_ATTEMPTS_MAX && oldest !== undefined) this.#open.delete(oldest);
    this.#open.set(attemptKey(cancelled.id), cancelled);
  }

  /** Has this worker end its guest. Borrows the run. */
  end(cancelled: Cancelled, run: RunClient): void {
    void this.#end(cancelled, new RunClient(run.capability.dup()));
  }

  /** It is over in the store, and no run waits for it: has the worker end its guest and forget it. Borrows the run. */
  dismiss(id: AttemptId, run: RunClient): void {
    void this.#dismiss(id, new RunClient(run.capability.dup()));
  }

  /** A worker has come back, and holds these. */
  cameBack(worker: PeerId, held: readonly AttemptId[]): void {
    const keys = new Set(held.map(attemptKey));
    for (const [key, { id, worker: its }] of this.#open) if (its === worker && !keys.has(key)) this.isOver(id);
  }

  /** Nothing runs of it, or nothing ever did. */
  isOver(id: AttemptId): void {
    const { store, log, onReady } = this.#init;
    this.#open.delete(attemptKey(id));
    store.noteEnded([id]).then(
      (isReady) => {
        if (isReady && !this.#closed.signal.aborted) onReady();
      },
      (error: unknown) => {
        if (this.#closed.signal.aborted) return;
        log.warn("the end of a cancelled attempt could not be noted; its lease ends by itself", { ...id, error });
      },
    );
  }

  close(): void {
    this.#closed.abort(disconnected("the gateway is closing"));
    this.#open.clear();
  }

  /** Owns the run. Never rejects. */
  async #end({ id, worker }: Cancelled, owned: RunClient): Promise<void> {
    using run = owned;
    let isTold = false;
    try {
      await this.#withinLease(async (signal) => {
        await run.cancel({ signal });
        isTold = true;
        await run.outcome({ signal }).catch((thrown: unknown) => {
          // Given back it is over, too. Anything else says nothing of the guest.
          if (toClusterError(thrown).code !== "handed-back") throw thrown;
        });
      });
      // Any worker may name any attempt when it comes back: only the one that had it can say that it is over.
      if (this.#open.get(attemptKey(id))?.worker === worker) this.isOver(id);
    } catch (error) {
      this.#init.log.debug("a cancelled attempt is not known to be over", { ...id, error });
    }
    if (isTold) await this.#acknowledge(run);
  }

  /** Owns the run. Never rejects. */
  async #dismiss(id: AttemptId, owned: RunClient): Promise<void> {
    using run = owned;
    try {
      await this.#withinLease((signal) => run.cancel({ signal }));
    } catch (error) {
      this.#init.log.debug("a cancellation did not reach its worker; it is told when it resumes", { ...id, error });
      return;
    }
    await this.#acknowledge(run);
  }

  /**
   * Its worker forgets it, if it can be reached. Only for one that it is known to have cancelled: whoever has forgotten a
   * guest that runs on hears nothing more of it, not in answer to a renewal either.
   */
  async #acknowledge(run: RunClient): Promise<void> {
    await this.#withinLease((signal) => run.acknowledge({ signal })).catch(() => {});
  }

  /** The signal is aborted after a lease, when the store waits for the worker no longer, and when this is closed. */
  async #withinLease(ask: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { clock, leaseMs } = this.#init;
    using term = followAborts([this.#closed.signal]);
    using _timer = clock.setTimer(leaseMs, () => term.abort(disconnected("the worker did not answer within a lease")));
    await ask(term.signal);
  }
}
