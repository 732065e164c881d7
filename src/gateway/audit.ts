/**
 * The audit log: who got, narrowed, used to submit, and took back which authority. Entries go to the store in batches,
 * in order, behind what they speak of; nobody waits for them.
 */
import type { Clock } from "../base/clock.ts";
import {
  AUDIT_REFUSALS_BURST,
  AUDIT_REFUSALS_PER_SECOND,
  AUDIT_BATCH_MAX,
  AUDIT_DETAIL_LENGTH_MAX,
  AUDIT_PENDING_MAX,
  AUDIT_READ_WAIT_MS_MAX,
  AUDIT_SUBJECT_LENGTH_MAX,
  CLOCK_CHECK_EVERY_MS,
} from "../base/limits.ts";
import { sleep } from "../base/clock.ts";
import { overloaded } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { AuditEntry, StoredAuditEntry } from "../model/audit.ts";
import type { CredentialStore } from "../store/credential-store.ts";
import { Rate } from "./rate.ts";

export interface AuditLogInit {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** What an entry is made of; it gets its time when it is recorded. */
export type AuditRecord = Omit<AuditEntry, "at" | "detail"> & { readonly detail?: string };

export class AuditLog {
  readonly #init: AuditLogInit;
  #pending: AuditEntry[] = [];
  #lost = 0;
  #writing: Promise<void> | undefined;
  readonly #closing = new AbortController();
  /** Entries that were recorded so far, and of these, those that are stored. */
  #recorded = 0;
  #stored = 0;
  /** Readers that wait until so many are stored. */
  readonly #readers = new Map<() => void, number>();
  readonly #refusals: Rated;
  readonly #sessions: Rated;

  constructor(init: AuditLogInit) {
    this.#init = init;
    this.#refusals = rated(init.clock);
    this.#sessions = rated(init.clock);
  }

  /** As `record`, for what somebody was refused: a flood of these is not to drive out everything else. */
  recordRefusal(actor: string, subject: string, detail: string): void {
    this.#recordRated(this.#refusals, { actor, action: "refused", subject, detail });
  }

  /** As `record`, for sessions, which a peer may begin and end as often as it likes. */
  recordSession(entry: AuditRecord): void {
    this.#recordRated(this.#sessions, entry);
  }

  record({ actor, action, subject, detail = "" }: AuditRecord): void {
    if (this.#pending.length >= AUDIT_PENDING_MAX) {
      if (this.#lost++ === 0) this.#init.log.error("the audit log cannot keep up: entries are lost", { action, actor });
      return;
    }
    const at = this.#init.clock.now();
    this.#pending.push({
      at,
      actor,
      action,
      subject: subject.slice(0, AUDIT_SUBJECT_LENGTH_MAX),
      detail: detail.slice(0, AUDIT_DETAIL_LENGTH_MAX),
    });
    this.#recorded++;
    this.#writing ??= this.#write();
  }

  /**
   * Newest first. What was recorded before is in it. Rejects as the store does, and with `overloaded`, code
   * `store-unavailable`, where that is not stored in time.
   */
  async list(options: {
    readonly limit: number;
    readonly belowSeq?: number | undefined;
  }): Promise<readonly StoredAuditEntry[]> {
    if (!this.#closing.signal.aborted) await this.#storedUpTo(this.#recorded);
    return this.#init.store.listAudit(options);
  }

  /** Resolves when what was recorded is stored, or could not be. To be called before the store closes. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    while (this.#writing !== undefined) await this.#writing;
  }

  #recordRated(kind: Rated, entry: AuditRecord): void {
    if (kind.rate.take(1, this.#init.clock.monotonicMs()) > 0) {
      kind.left++;
      return;
    }
    const more = kind.left === 0 ? "" : `${kind.left} more before it were not written; `;
    kind.left = 0;
    this.record({ ...entry, detail: `${more}${entry.detail ?? ""}` });
  }

  async #storedUpTo(count: number): Promise<void> {
    if (this.#stored >= count) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    using _ = this.#init.clock.setTimer(AUDIT_READ_WAIT_MS_MAX, () =>
      reject(overloaded("the store has not taken the audit log's entries", { code: "store-unavailable" })),
    );
    this.#readers.set(resolve, count);
    try {
      await promise;
    } finally {
      this.#readers.delete(resolve);
    }
  }

  #storedMore(count: number): void {
    this.#stored += count;
    for (const [resolve, upTo] of this.#readers) if (upTo <= this.#stored) resolve();
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    const { store, clock, log } = this.#init;
    // So that what one turn records goes together.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const batch = this.#pending.slice(0, AUDIT_BATCH_MAX);
      try {
        await store.appendAudit(batch);
        this.#pending = this.#pending.slice(batch.length);
        this.#storedMore(batch.length);
        if (this.#lost > 0) log.warn("the audit log is kept up again", { lost: this.#lost });
        this.#lost = 0;
      } catch (error) {
        if (this.#closing.signal.aborted) {
          log.error("the last entries of the audit log could not be stored", { count: this.#pending.length, error });
          break;
        }
        log.warn("the audit log could not be written; trying again", { error });
        await sleep(clock, CLOCK_CHECK_EVERY_MS, { signal: this.#closing.signal }).catch(() => {});
      }
    }
    // In the turn that has found nothing left: what comes next begins anew.
    this.#writing = undefined;
  }
}

interface Rated {
  readonly rate: Rate;
  /** Not written since the last one that was. */
  left: number;
}

function rated(clock: Clock): Rated {
  const nowMs = clock.monotonicMs();
  return { rate: new Rate({ perMs: AUDIT_REFUSALS_PER_SECOND / 1_000, burst: AUDIT_REFUSALS_BURST, nowMs }), left: 0 };
}
