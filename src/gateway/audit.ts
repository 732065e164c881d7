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
  CLOCK_CHECK_EVERY_MS,
} from "../base/limits.ts";
import { sleep } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { AuditEntry, StoredAuditEntry } from "../model/audit.ts";
import type { CredentialStore } from "../store/credential-store.ts";
import { Rate } from "./rate.ts";

export interface AuditLogInit {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly log: Log;
}

export class AuditLog {
  readonly #init: AuditLogInit;
  #pending: AuditEntry[] = [];
  #lost = 0;
  #writing: Promise<void> | undefined;
  readonly #closing = new AbortController();
  readonly #refusals: Rate;

  constructor(init: AuditLogInit) {
    this.#init = init;
    const nowMs = init.clock.monotonicMs();
    this.#refusals = new Rate({ perMs: AUDIT_REFUSALS_PER_SECOND / 1_000, burst: AUDIT_REFUSALS_BURST, nowMs });
  }

  /** As `record`, for what somebody was refused: a flood of these is not to drive out everything else. */
  recordRefusal(actor: string, subject: string, detail: string): void {
    const waitMs = this.#refusals.take(1, this.#init.clock.monotonicMs());
    if (waitMs === 0) this.record({ actor, action: "refused", subject, detail });
  }

  record({
    actor,
    action,
    subject,
    detail = "",
  }: Omit<AuditEntry, "at" | "detail"> & { readonly detail?: string }): void {
    if (this.#pending.length >= AUDIT_PENDING_MAX) {
      if (this.#lost++ === 0) this.#init.log.error("the audit log cannot keep up: entries are lost", { action, actor });
      return;
    }
    const at = this.#init.clock.now();
    this.#pending.push({ at, actor, action, subject, detail: detail.slice(0, AUDIT_DETAIL_LENGTH_MAX) });
    this.#writing ??= this.#write();
  }

  /** Newest first. What was recorded before is in it. Rejects as the store does. */
  async list(options: {
    readonly limit: number;
    readonly belowSeq?: number | undefined;
  }): Promise<readonly StoredAuditEntry[]> {
    while (this.#writing !== undefined && !this.#closing.signal.aborted) await this.#writing;
    return this.#init.store.listAudit(options);
  }

  /** Resolves when what was recorded is stored, or could not be. To be called before the store closes. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort();
    while (this.#writing !== undefined) await this.#writing;
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
