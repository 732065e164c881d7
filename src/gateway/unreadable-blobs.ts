/**
 * Blobs that could not be read when a worker wanted them. That is no fault of the run or of its worker: the attempt is given
 * up, and runs that need the blob wait for a moment, longer each time. But a blob that is gone or damaged for good is not
 * waited for without end: one that could not be read for many attempts and for long, while the store was otherwise well, is
 * hopeless, and so are the runs that need it.
 */
import { Backoff } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import { failed, messageOf } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import {
  BLOB_FORGIVEN_MS,
  BLOB_RETRY_FIRST_MS,
  BLOB_RETRY_MAX_MS,
  BLOB_UNREADABLE_ATTEMPTS_MAX,
  BLOB_UNREADABLE_MS_MAX,
  UNREADABLE_BLOBS_MAX,
} from "../base/limits.ts";
import type { Random } from "../base/random.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { StoreReadiness } from "./services.ts";
import { storeTrouble } from "./store-trouble.ts";

export interface UnreadableBlobsInit {
  readonly storeHealth: Pick<StoreReadiness, "check">;
  readonly clock: Clock;
  readonly random: Random;
  /** Runs that need a blob may be started before it was to be tried again: it could be read. */
  readonly onReadable: () => void;
}

/** Reads blobs for one attempt. */
export interface BlobReads {
  /** What `act` reads of the blob; it gives undefined when there is none. Rejects with `overloaded` when it cannot. */
  of<T>(blob: Digest, act: () => Promise<T | undefined>): Promise<T>;
}

export interface UnreadableBlob {
  readonly blob: Digest;
  readonly reason: string;
  /** There is no use in waiting any longer. */
  readonly isHopeless: boolean;
}

interface Trouble {
  /** When it began, and when it was met last, by the monotonic clock. */
  sinceMs: number;
  latestMs: number;
  /** Attempts that it has cost, as many as matter. */
  readonly attempts: Set<string>;
  readonly backoff: Backoff;
}

export class UnreadableBlobs {
  readonly #init: UnreadableBlobsInit;
  /** The one that was met first comes first. */
  readonly #troubles = new Map<Digest, Trouble>();
  /** Until when blobs, and runs by `runKey`, are left alone, by the monotonic clock. */
  readonly #rests = new Map<string, number>();

  constructor(init: UnreadableBlobsInit) {
    this.#init = init;
  }

  /** `onUnreadable` is called once, before the worker is told, when a blob could not be read for this attempt. */
  readsFor(id: AttemptId, onUnreadable: (found: UnreadableBlob) => void): BlobReads {
    let isTold = false;
    return {
      of: async (blob, act) => {
        try {
          const found = await act();
          if (found === undefined) throw failed("it is gone or damaged", { code: "store-unavailable" });
          this.#worked(blob);
          return found;
        } catch (error) {
          const isHopeless = await this.#failed(blob, id);
          if (!isTold) onUnreadable({ blob, reason: messageOf(error), isHopeless });
          isTold = true;
          throw storeTrouble(error);
        }
      },
    };
  }

  /** A run that needs these blobs is not to be started now. */
  isResting(run: RunName, blobs: readonly Digest[]): boolean {
    return this.#rests.size > 0 && this.restMs(run, blobs) !== undefined;
  }

  /** How long a run that needs these blobs still waits; undefined if it does not. */
  restMs(run: RunName, blobs: readonly Digest[]): number | undefined {
    const nowMs = this.#init.clock.monotonicMs();
    const leftMs = Math.max(...[runKey(run), ...blobs].map((key) => (this.#rests.get(key) ?? -Infinity) - nowMs));
    return leftMs > 0 ? leftMs : undefined;
  }

  /**
   * How long until one may be tried again; undefined when none rested at `sinceMs` (by the monotonic clock). Not above 0
   * for what has ended since then.
   */
  nextEndInMs(sinceMs = this.#init.clock.monotonicMs()): number | undefined {
    const nowMs = this.#init.clock.monotonicMs();
    let next: number | undefined;
    for (const [key, untilMs] of this.#rests) {
      if (untilMs <= sinceMs) this.#rests.delete(key);
      else next = Math.min(next ?? Infinity, untilMs - nowMs);
    }
    return next;
  }

  /** It could not be read for this attempt. True: there is no use in waiting any longer. */
  async #failed(blob: Digest, id: AttemptId): Promise<boolean> {
    const { storeHealth, clock } = this.#init;
    const nowMs = clock.monotonicMs();
    const trouble = this.#troubleWith(blob, nowMs);
    const attempt = attemptKey(id);
    trouble.latestMs = nowMs;
    if (!trouble.attempts.has(attempt)) {
      if (trouble.attempts.size < BLOB_UNREADABLE_ATTEMPTS_MAX) trouble.attempts.add(attempt);
      const untilMs = nowMs + trouble.backoff.nextMs();
      this.#rest(blob, untilMs);
      // What it reads may be known only when it is started.
      this.#rest(runKey({ serial: id.serial, index: id.run }), untilMs);
    }
    if ((await storeHealth.check()) !== undefined) {
      // It may be the disk, and not the blob.
      trouble.sinceMs = clock.monotonicMs();
      return false;
    }
    return trouble.attempts.size >= BLOB_UNREADABLE_ATTEMPTS_MAX && nowMs - trouble.sinceMs >= BLOB_UNREADABLE_MS_MAX;
  }

  #worked(blob: Digest): void {
    if (this.#troubles.delete(blob) && this.#rests.delete(blob)) this.#init.onReadable();
  }

  #troubleWith(blob: Digest, nowMs: number): Trouble {
    const known = this.#troubles.get(blob);
    if (known !== undefined && nowMs - known.latestMs < BLOB_FORGIVEN_MS) return known;
    const backoff = new Backoff({ firstMs: BLOB_RETRY_FIRST_MS, maxMs: BLOB_RETRY_MAX_MS, random: this.#init.random });
    const trouble = { sinceMs: nowMs, latestMs: nowMs, attempts: new Set<string>(), backoff };
    this.#troubles.delete(blob);
    this.#troubles.set(blob, trouble);
    trim(this.#troubles);
    return trouble;
  }

  #rest(key: string, untilMs: number): void {
    this.#rests.delete(key);
    this.#rests.set(key, untilMs);
    trim(this.#rests);
  }
}

export interface RunName {
  readonly serial: number;
  readonly index: number;
}

function runKey({ serial, index }: RunName): string {
  return `${serial}/${index}`;
}

function trim(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > UNREADABLE_BLOBS_MAX && oldest !== undefined) map.delete(oldest);
}
