/** Tokens and the audit log as JSON. */
import { z } from "zod";
import { TOKEN_LABEL_LENGTH_MAX } from "../base/limits.ts";
import type { StoredAuditEntry } from "../model/audit.ts";
import { POWERS, type Power, type Token, tokenState } from "../model/token.ts";
import { formatOptionalTime, formatTime } from "./time.ts";

export { POWERS, type Power };

const powerSchema = z.enum(POWERS);
const limitsSchema = z.object({
  /** Over time; ten times as many at once. */
  submitsPerSecond: z.number().positive().max(1e6).optional(),
  /** Unfinished tasks of this token at one time. */
  queuedTasks: z.int().positive().max(1e9).optional(),
  /** Of requests that submit or upload. */
  bytesPerHour: z.int().positive().max(1e15).optional(),
});

/** What `POST /tokens` takes. */
export const tokenRequestSchema = z.strictObject({
  can: z.array(powerSchema).min(1),
  /** Seconds, or `30d`; left out: until it is revoked, or the token that it is made with expires. */
  for: z.union([z.number(), z.string()]).optional(),
  label: z.string().max(TOKEN_LABEL_LENGTH_MAX).default(""),
  limits: limitsSchema.strict().default({}),
});

export type TokenRequest = z.input<typeof tokenRequestSchema>;

export const tokenSchema = z.object({
  id: z.string(),
  label: z.string(),
  can: z.array(powerSchema),
  limits: limitsSchema,
  state: z.enum(["active", "expired", "revoked"]),
  createdAt: z.string(),
  expiresAt: z.string().nullable(),
  revokedAt: z.string().nullable(),
  createdBy: z.string(),
  /** The token that it was made with, and ends with. */
  parent: z.string().nullable(),
});

export type TokenJson = z.infer<typeof tokenSchema>;

/** What `POST /tokens` answers: `token` is the text to send, and is shown this once. */
export const madeTokenSchema = tokenSchema.extend({ token: z.string() });

export type MadeTokenJson = z.infer<typeof madeTokenSchema>;

export const auditEntrySchema = z.object({
  seq: z.number(),
  at: z.string(),
  actor: z.string(),
  action: z.string(),
  subject: z.string(),
  detail: z.string(),
});

export type AuditEntryJson = z.infer<typeof auditEntrySchema>;

export function tokenJson(token: Token, now: number): TokenJson {
  return {
    id: token.id,
    label: token.label,
    can: [...token.can],
    limits: token.limits,
    state: tokenState(token, now),
    createdAt: formatTime(token.createdAt),
    expiresAt: formatOptionalTime(token.expiresAt),
    revokedAt: formatOptionalTime(token.revokedAt),
    createdBy: token.createdBy,
    parent: token.parent ?? null,
  };
}

export function auditEntryJson({ at, ...entry }: StoredAuditEntry): AuditEntryJson {
  return { ...entry, at: formatTime(at) };
}
