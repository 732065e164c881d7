/**
 * Attempts that are cancelled in the store and whose guests may still run: their workers are told to end them, and when
 * one has said that its guest is over, the store is told, so that the run may be started again before the lease ends.
 *
 *     cancelled ──▶ its worker is told ──outcome──▶ over: the store knows
 *         ├── never given to a worker ────────────▶ over
 *         └── its worker is away ──comes back──▶ without it: over; with it: it is told
 *
 * Nothing here waits for a worker that does not answer: the lease in the store ends by itself. After a restart nothing of
 * this is known, and the leases decide alone.
 */
import type { Clock } from "../base/clock.ts";
import { toClusterError } from "../base/errors.ts";
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

  /** Has the worker end its guest. Borrows the run. */
  end(id: AttemptId, run: RunClient): void {
    void this.#end(id, new RunClient(run.capability.dup()));
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
    this.#closed.abort();
    this.#open.clear();
  }

  /** Owns the run. Never rejects. */
  async #end(id: AttemptId, owned: RunClient): Promise<void> {
    using run = owned;
    if (this.#closed.signal.aborted) return;
    const ended = new AbortController();
    const onClosed = () => ended.abort();
    this.#closed.signal.addEventListener("abort", onClosed, { once: true });
    // After that its lease is over, whatever the worker does.
    using _timer = this.#init.clock.setTimer(this.#init.leaseMs, () => ended.abort());
    try {
      await run.cancel();
      await run.outcome({ signal: ended.signal }).catch((thrown: unknown) => {
        // Given back it is over, too. Anything else says nothing of the guest.
        if (toClusterError(thrown).code !== "handed-back") throw thrown;
      });
      if (this.#closed.signal.aborted) return;
      this.isOver(id);
      await run.acknowledge();
    } catch (error) {
      this.#init.log.debug("a cancelled attempt is not known to be over", { ...id, error });
      // A worker that still has it forgets it, if it can be reached.
      await run.acknowledge().catch(() => {});
    } finally {
      this.#closed.signal.removeEventListener("abort", onClosed);
    }
  }
}
