/**
 * The contract for what a gateway keeps of its tokens, and for its audit log. Promises are those of the store
 * (`store.ts`): what resolved is durable, what rejected did nothing.
 */
import type { AuditEntry, StoredAuditEntry } from "../model/audit.ts";
import type { Token, TokenId } from "../model/token.ts";

export interface StoredToken extends Token {
  /** SHA-256 of its secret; the secret itself is nowhere. */
  readonly secretHash: Uint8Array;
}

export interface CredentialStore {
  createToken(token: StoredToken): Promise<void>;
  /** All that are kept, oldest first. */
  listTokens(): Promise<readonly StoredToken[]>;
  /** Those of `ids` that were not yet are revoked from now on. */
  revokeTokens(ids: readonly TokenId[], now: number): Promise<void>;
  /** Forgets tokens that were revoked or had expired before `endedBefore`. */
  forgetTokens(endedBefore: number): Promise<void>;

  /** Appends in order. The oldest entries beyond AUDIT_ENTRIES_MAX go. */
  appendAudit(entries: readonly AuditEntry[]): Promise<void>;
  /** Newest first, from before `belowSeq` on. */
  listAudit(options: {
    readonly limit: number;
    readonly belowSeq?: number | undefined;
  }): Promise<readonly StoredAuditEntry[]>;
}
