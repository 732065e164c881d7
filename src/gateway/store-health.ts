/**
 * Whether the store takes anything new. Looked for all the time, so that a submission is refused before its body is read,
 * and taken again within a second after the trouble is over, without anybody's doing.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { STORE_CHECK_EVERY_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import type { CheckOptions, StoreFailure, StoreTrouble, TroubleKind } from "../store/trouble.ts";
import type { StoreReadiness } from "./services.ts";
import { troubleSentence } from "./store-trouble.ts";

export interface StoreHealthInit {
  readonly store: Pick<Store, "check">;
  readonly blobs: Pick<BlobStore, "check">;
  readonly clock: Clock;
  readonly log: Log;
  /** A trouble is over, or has become another: what waits for a next try may be worth one now. */
  readonly onRelieved?: (() => void) | undefined;
}

export class StoreHealth implements StoreReadiness {
  readonly #init: StoreHealthInit;
  #trouble: StoreTrouble | undefined;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  /** By the monotonic clock: when something was last written to find out. */
  #probedAtMs = -Infinity;
  #isClosed = false;

  constructor(init: StoreHealthInit) {
    this.#init = init;
  }

  start(): void {
    this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
  }

  refusesBecause(): string | undefined {
    return this.#trouble === undefined ? undefined : troubleSentence(this.#trouble.kind);
  }

  trouble(): TroubleKind | undefined {
    return this.#trouble?.kind;
  }

  async check(): Promise<string | undefined> {
    await this.#looking;
    const nowMs = this.#init.clock.monotonicMs();
    if (nowMs - this.#probedAtMs >= STORE_CHECK_EVERY_MS) {
      this.#probedAtMs = nowMs;
      await this.#look({ isThorough: true });
    } else {
      // Whoever has just begun to look finds out for all who ask meanwhile.
      await this.#looking;
    }
    return this.refusesBecause();
  }

  noteFailure(failure: StoreFailure): void {
    if (this.#isClosed || this.#trouble?.kind === failure.trouble) return;
    // What is being looked at may have been read before that.
    void (this.#looking ?? Promise.resolve()).then(() => (this.#isClosed ? undefined : this.#look({})));
  }

  #arm(): void {
    if (this.#isClosed) return;
    this.#timer = this.#init.clock.setTimer(STORE_CHECK_EVERY_MS, () => {
      void this.#look({}).finally(() => this.#arm());
    });
  }

  /** One at a time. Never rejects. */
  #look(options: CheckOptions): Promise<void> {
    this.#looking ??= this.#find(options).finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #find(options: CheckOptions): Promise<void> {
    const { store, blobs, log, onRelieved } = this.#init;
    const before = this.#trouble;
    this.#trouble = (await store.check(options)) ?? (await blobs.check(options));
    if (this.#isClosed || this.#trouble?.kind === before?.kind) return;
    if (this.#trouble === undefined) log.info("the store takes new work again");
    else log.error("the store is in trouble: no new work is taken, what there is can be read", { ...this.#trouble });
    if (before !== undefined) onRelieved?.();
  }
}
