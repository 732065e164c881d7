/** Tokens and the audit log, as rows. */
import { isRecord } from "../../base/json-shapes.ts";
import { DamagedRow, parseStored } from "./damaged-row.ts";
import { AUDIT_ENTRIES_MAX } from "../../base/limits.ts";
import { AUDIT_ACTIONS } from "../../model/audit.ts";
import { POWERS, type TokenLimits } from "../../model/token.ts";
import {
  decodeBytes,
  decodeNumber,
  decodeOneOf,
  decodeOptionalTime,
  decodeText,
  decodeTime,
  decodeTokenId,
} from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { Answer, Args } from "./messages.ts";

export function createToken(db: Database, { token }: Args<"createToken">): void {
  db.run(
    `INSERT INTO tokens (id, secret_hash, label, can, limits, created_at, expires_at, revoked_at, created_by, parent)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    token.id,
    token.secretHash,
    token.label,
    token.can.join(","),
    JSON.stringify(token.limits),
    token.createdAt,
    token.expiresAt ?? null,
    token.revokedAt ?? null,
    token.createdBy,
    token.parent ?? null,
  );
}

export function listTokens(db: Database): Answer<"listTokens"> {
  return db.all("SELECT * FROM tokens ORDER BY created_at, id").map((row) => {
    return {
      id: decodeTokenId(row.id),
      secretHash: decodeBytes(row.secret_hash),
      label: decodeText(row.label),
      can: decodeText(row.can)
        .split(",")
        .map((power) => decodeOneOf(POWERS, power)),
      limits: decodeLimits(row),
      createdAt: decodeTime(row.created_at),
      expiresAt: decodeOptionalTime(row.expires_at),
      revokedAt: decodeOptionalTime(row.revoked_at),
      createdBy: decodeText(row.created_by),
      parent: row.parent === null ? undefined : decodeTokenId(row.parent),
    };
  });
}

export function revokeTokens(db: Database, { ids, now }: Args<"revokeTokens">): void {
  for (const id of ids) db.run("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", now, id);
}

export function forgetTokens(db: Database, { endedBefore }: Args<"forgetTokens">): void {
  db.run("DELETE FROM tokens WHERE revoked_at < ? OR expires_at < ?", endedBefore, endedBefore);
}

export function appendAudit(db: Database, { entries }: Args<"appendAudit">): void {
  let seq = 0;
  for (const { at, actor, action, subject, detail } of entries) {
    seq = db.insert(
      "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
      at,
      actor,
      action,
      subject,
      detail,
    );
  }
  db.run("DELETE FROM audit WHERE seq <= ?", seq - AUDIT_ENTRIES_MAX);
}

export function listAudit(db: Database, { limit, belowSeq }: Args<"listAudit">): Answer<"listAudit"> {
  const rows = db.all(
    "SELECT seq, at, actor, action, subject, detail FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?",
    belowSeq ?? Number.MAX_SAFE_INTEGER,
    limit,
  );
  return rows.map((row) => ({
    seq: decodeNumber(row.seq),
    at: decodeTime(row.at),
    actor: decodeText(row.actor),
    action: decodeOneOf(AUDIT_ACTIONS, row.action),
    subject: decodeText(row.subject),
    detail: decodeText(row.detail),
  }));
}

function decodeLimits(row: Row): TokenLimits {
  const limits = parseStored(decodeText(row.limits));
  const areLimits = isRecord(limits) && Object.values(limits).every((limit) => typeof limit === "number");
  if (!areLimits) throw new DamagedRow("the limits of a token are no numbers");
  return limits;
}
