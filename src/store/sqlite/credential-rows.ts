/** Tokens and the audit log, as rows. */
import { isRecord } from "../../base/json-shapes.ts";
import { DamagedRow, parseStored } from "./damaged-row.ts";
import { AUDIT_ENTRIES_MAX } from "../../base/limits.ts";
import type { AuditAction } from "../../model/audit.ts";
import { POWERS, type TokenId, type TokenLimits } from "../../model/token.ts";
import {
  decodeBranded,
  decodeBytes,
  decodeNumber,
  decodeOptionalNumber,
  decodeOptionalText,
  decodeText,
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
    const names = decodeText(row.can).split(",");
    const parent = decodeOptionalText(row.parent);
    return {
      id: decodeBranded<TokenId>(row.id),
      secretHash: decodeBytes(row.secret_hash),
      label: decodeText(row.label),
      can: POWERS.filter((power) => names.includes(power)),
      limits: decodeLimits(row),
      createdAt: decodeNumber(row.created_at),
      expiresAt: decodeOptionalNumber(row.expires_at),
      revokedAt: decodeOptionalNumber(row.revoked_at),
      createdBy: decodeText(row.created_by),
      parent: parent === undefined ? undefined : decodeBranded<TokenId>(row.parent),
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
    at: decodeNumber(row.at),
    actor: decodeText(row.actor),
    action: decodeBranded<AuditAction>(row.action),
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
