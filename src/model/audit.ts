/** The audit log's entries: who got, narrowed, used and took back which authority. */

export const AUDIT_ACTIONS = [
  "token.created",
  "token.revoked",
  "token.expired",
  "session.opened",
  "session.narrowed",
  "session.ended",
  "task.submitted",
  "task.cancelled",
  "task.deleted",
  "task.retried",
  "module.stored",
  "worker.admitted",
  "worker.barred",
  "worker.drained",
  "secret.rotated",
  "refused",
] as const;

export type AuditAction = (typeof AUDIT_ACTIONS)[number];

export interface AuditEntry {
  readonly at: number;
  /** Who did it: `local`, `token:admin`, `token:<id>`, or a peer. */
  readonly actor: string;
  readonly action: AuditAction;
  /** What it was done to: a task's id, a token's, a worker's. */
  readonly subject: string;
  /** For people. */
  readonly detail: string;
}

/** As it is kept. `seq` rises from entry to entry and is never used twice. */
export interface StoredAuditEntry extends AuditEntry {
  readonly seq: number;
}
