/**
 * Tokens: authority over the API that can be carried as text. A token is a set of powers for a time, within limits; what
 * it mints is narrower than itself, and ends with it.
 *
 *     active --its time is over--> expired
 *        \-----revoked, or one that it came from-----> revoked      Both are final.
 */
export type Power = "read" | "submit" | "admin";

/** `read`: see tasks, output, workers, events. `submit`: submit, cancel, retry, delete. `admin`: all, workers and tokens too. */
export const POWERS: readonly Power[] = ["read", "submit", "admin"];

export type TokenId = string & { readonly __brand: "TokenId" };

/** What a token may take of the gateway. A limit that is not there is not set. */
export interface TokenLimits {
  /** Submissions a second, over time; ten times as many at once. Each line of a batch is one, and each retry. */
  readonly submitsPerSecond?: number | undefined;
  /** Tasks of this token that are unfinished at one time. */
  readonly queuedTasks?: number | undefined;
  /** Bytes that submissions and uploads bring, an hour, over time. */
  readonly bytesPerHour?: number | undefined;
}

export interface Token {
  readonly id: TokenId;
  /** For people: whose it is, what it is for. */
  readonly label: string;
  readonly can: readonly Power[];
  readonly limits: TokenLimits;
  readonly createdAt: number;
  /** Undefined: it does not expire. */
  readonly expiresAt?: number | undefined;
  readonly revokedAt?: number | undefined;
  /** Who made it: see `Grant.actor`. */
  readonly createdBy: string;
  /** The token that it was made with, whose end is its own. Undefined: it was made by the gateway's own operator. */
  readonly parent?: TokenId | undefined;
}

export type TokenState = "active" | "expired" | "revoked";

export function tokenState(token: Pick<Token, "expiresAt" | "revokedAt">, now: number): TokenState {
  if (token.revokedAt !== undefined) return "revoked";
  return token.expiresAt !== undefined && token.expiresAt <= now ? "expired" : "active";
}

export function allows(can: readonly Power[], power: Power): boolean {
  return can.includes("admin") || can.includes(power);
}

/** What may be handed on: all that a token would be, but for its name and its text. */
export type Authority = Pick<Token, "can" | "limits" | "expiresAt">;

export interface Excess {
  readonly field: "can" | "for" | keyof TokenLimits;
  readonly message: string;
}

/** What of `wanted` goes beyond `held`; empty when `wanted` is as narrow, or narrower. */
export function excessOf(wanted: Authority, held: Authority): readonly Excess[] {
  const excess: Excess[] = [];
  const beyond = wanted.can.filter((power) => !allows(held.can, power));
  if (beyond.length > 0) {
    excess.push({
      field: "can",
      message: `has ${beyond.join(", ")}, and the token that makes it can only ${held.can.join(", ")}`,
    });
  }
  if (held.expiresAt !== undefined && (wanted.expiresAt ?? Infinity) > held.expiresAt) {
    excess.push({ field: "for", message: "ends after the token that makes it: ask for a shorter time" });
  }
  for (const name of LIMIT_NAMES) {
    const most = held.limits[name];
    if (most !== undefined && (wanted.limits[name] ?? Infinity) > most) {
      excess.push({ field: name, message: `goes beyond ${most}, the limit of the token that makes it` });
    }
  }
  return excess;
}

export const LIMIT_NAMES: readonly (keyof TokenLimits)[] = ["submitsPerSecond", "queuedTasks", "bytesPerHour"];

const TOKEN_ID = /^[a-z0-9]{12}$/;
const TOKEN_TEXT = /^cm_([a-z0-9]{12})_([A-Za-z0-9_-]{43})$/;

/** Undefined: no token has such an id. */
export function parseTokenId(text: string): TokenId | undefined {
  return TOKEN_ID.test(text) ? (text as TokenId) : undefined;
}

/** `cm_<id>_<secret>`: the id finds the token, the secret proves it. */
export function formatTokenText(id: TokenId, secret: string): string {
  return `cm_${id}_${secret}`;
}

export function parseTokenText(text: string): { readonly id: TokenId; readonly secret: string } | undefined {
  const [, idText = "", secret = ""] = TOKEN_TEXT.exec(text) ?? [];
  const id = parseTokenId(idText);
  return id === undefined ? undefined : { id, secret };
}
