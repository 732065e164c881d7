/**
 * Tokens: made, recognised and taken back. All that are kept are held in memory, so that recognising one costs two hashes
 * and no wait; the store has them too, with the hash of their secrets in place of these.
 *
 * A token that ends takes with it those that were made with it, and whatever was given out on it: `Grant.ended`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import { type ClusterError, failed, overloaded } from "../base/errors.ts";
import { CLOCK_CHECK_EVERY_MS, TOKENS_MAX, TOKEN_KEPT_AFTER_END_MS } from "../base/limits.ts";
import {
  type Authority,
  type Excess,
  type Token,
  type TokenId,
  excessOf,
  formatTokenText,
  parseTokenId,
  parseTokenText,
  tokenState,
} from "../model/token.ts";
import { ADMIN_TOKEN_SUBMITTER, LOCAL_SUBMITTER, parseTokenSubmitter, tokenSubmitter } from "../model/submitter.ts";
import type { CredentialStore, StoredToken } from "../store/credential-store.ts";
import type { SubmitterLimit } from "../store/store.ts";
import type { AuditLog } from "./audit.ts";
import { Grant } from "./grant.ts";

export interface TokensInit {
  readonly store: CredentialStore;
  readonly audit: AuditLog;
  /** The gateway's own, which can do everything and is not in the store. Undefined: there is none. */
  readonly rootToken?: string | undefined;
  /** Unguessable. */
  readonly randomBytes: (length: number) => Uint8Array;
  readonly clock: Clock;
}

export interface MintInit extends Omit<Authority, "expiresAt"> {
  readonly label: string;
  /** Undefined: as long as the token that it is made with. */
  readonly lifetimeMs?: number | undefined;
}

export type MintResult =
  /** `text` is shown once: it is kept nowhere. */
  | { readonly kind: "made"; readonly token: Token; readonly text: string }
  | { readonly kind: "too-wide"; readonly excess: readonly Excess[] };

export type Recognition =
  | { readonly kind: "known"; readonly grant: Grant }
  /** It was a token here, and is none any more. */
  | { readonly kind: "ended"; readonly state: "expired" | "revoked" }
  | { readonly kind: "unknown" };

interface Held {
  token: StoredToken;
  readonly grant: Grant;
}

const ENDED = { revoked: "the token was revoked", expired: "the token has expired" } as const;
const ID_BYTES = 12;
const SECRET_BYTES = 32;
const ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz012345";

export class Tokens implements Disposable {
  readonly #init: TokensInit;
  readonly #held = new Map<TokenId, Held>();
  readonly #root: { readonly hash: Buffer; readonly grant: Grant } | undefined;
  /** What whoever is on this machine may do where no token is asked for. */
  readonly local: Grant;
  #timer: Timer | undefined;

  private constructor(init: TokensInit) {
    this.#init = init;
    const everything = { can: ["admin"], limits: {} } as const;
    this.local = new Grant({ actor: LOCAL_SUBMITTER, ...everything }, init.clock);
    if (init.rootToken !== undefined) {
      const grant = new Grant({ actor: ADMIN_TOKEN_SUBMITTER, ...everything }, init.clock);
      this.#root = { hash: sha256(init.rootToken), grant };
    }
  }

  /** Rejects as the store does. */
  static async open(init: TokensInit): Promise<Tokens> {
    const tokens = new Tokens(init);
    await init.store.forgetTokens(init.clock.now() - TOKEN_KEPT_AFTER_END_MS);
    await tokens.#load();
    tokens.#expire();
    return tokens;
  }

  /** Without one, requests from this machine need none. */
  get hasRoot(): boolean {
    return this.#root !== undefined;
  }

  /** Takes as long for a wrong secret as for the right one. */
  recognise(text: string): Recognition {
    const named = parseTokenText(text);
    const held = named && this.#held.get(named.id);
    if (named !== undefined && held !== undefined) {
      if (!timingSafeEqual(sha256(named.secret), held.token.secretHash)) return { kind: "unknown" };
      const state = tokenState(held.token, this.#init.clock.now());
      if (state === "active" && !held.grant.ended.aborted) return { kind: "known", grant: held.grant };
      return { kind: "ended", state: state === "active" ? "revoked" : state };
    }
    const root = this.#root;
    if (root !== undefined && timingSafeEqual(sha256(text), root.hash)) return { kind: "known", grant: root.grant };
    return { kind: "unknown" };
  }

  /** What holds for the tasks of this submitter, whoever lets them run again. Undefined: no limit does. */
  limitOf(submitter: string): SubmitterLimit | undefined {
    const id = parseTokenId(parseTokenSubmitter(submitter) ?? "");
    return id && this.#held.get(id)?.grant.submitterLimit;
  }

  /** Oldest first; ended ones for a while too. */
  list(): readonly Token[] {
    return Array.from(this.#held.values(), ({ token }) => withoutSecret(token)).sort(
      (one, other) => one.createdAt - other.createdAt,
    );
  }

  /**
   * Makes a token that is no wider than `by`. Durable when it resolves. Rejects as the store does, or with `overloaded`,
   * code `too-many-tokens`.
   */
  async mint(by: Grant, { label, can, limits, lifetimeMs }: MintInit): Promise<MintResult> {
    const createdAt = this.#init.clock.now();
    const expiresAt = lifetimeMs === undefined ? by.authority.expiresAt : createdAt + lifetimeMs;
    const excess = excessOf({ can, limits, expiresAt }, by.authority);
    if (excess.length > 0) return { kind: "too-wide", excess };
    this.#makeRoom();
    const { store, audit, clock, randomBytes } = this.#init;
    const id = this.#makeId();
    const secret = Buffer.from(randomBytes(SECRET_BYTES)).toString("base64url");
    const token: Token = { id, label, can, limits, createdAt, expiresAt, createdBy: by.actor, parent: by.token };
    const stored = { ...token, secretHash: sha256(secret) };
    await store.createToken(stored);
    // It may have ended meanwhile, and would not take this one with it.
    if (by.ended.aborted) {
      await store.revokeTokens([id], clock.now());
      throw by.ended.reason;
    }
    this.#hold(stored);
    this.#expire();
    audit.record({ actor: by.actor, action: "token.created", subject: id, detail: `${can.join(",")} ${label}`.trim() });
    return { kind: "made", token, text: formatTokenText(id, secret) };
  }

  /**
   * Ends the token and those that came of it, and all that was given out on them, at once; durable when it resolves.
   * False: there is no such token. Idempotent. Rejects as the store does: the tokens have ended, and would be back when
   * the gateway starts again.
   */
  async revoke(by: Grant, id: TokenId): Promise<boolean> {
    if (!this.#held.has(id)) return false;
    const { store, audit, clock } = this.#init;
    const now = clock.now();
    const ids = this.#withDescendants(id).filter((each) => this.#held.get(each)?.token.revokedAt === undefined);
    for (const each of ids) this.#end(each, failed(ENDED.revoked, { code: "revoked" }));
    await store.revokeTokens(ids, now);
    for (const each of ids) {
      const held = this.#held.get(each);
      if (held !== undefined) held.token = { ...held.token, revokedAt: now };
      const detail = each === id ? "" : `with ${id}, which it was made with`;
      audit.record({ actor: by.actor, action: "token.revoked", subject: each, detail });
    }
    this.#expire();
    return true;
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }

  /**
   * Holds what is stored, each token after the one that it was made with: times and ids say nothing of that where the
   * clock was set back. One whose parent was revoked, or is no longer known, was left over when the gateway stopped
   * between the two, and is revoked now.
   */
  async #load(): Promise<void> {
    const { store, audit, clock } = this.#init;
    const stored = await store.listTokens();
    const byParent = Map.groupBy(stored, ({ parent }) => parent);
    const known = new Set(stored.map(({ id }) => id));
    const isRoot = ({ parent }: StoredToken): boolean => parent === undefined || !known.has(parent);
    const now = clock.now();
    const leftOver: StoredToken[] = [];
    const queue = stored.filter(isRoot);
    for (const token of queue) {
      const { id, parent } = token;
      const isParentGone =
        parent !== undefined && (!known.has(parent) || this.#held.get(parent)?.token.revokedAt !== undefined);
      const isLeftOver = isParentGone && token.revokedAt === undefined;
      if (isLeftOver) leftOver.push(token);
      this.#hold(isLeftOver ? { ...token, revokedAt: now } : token);
      queue.push(...(byParent.get(id) ?? []));
    }
    if (leftOver.length === 0) return;
    await store.revokeTokens(
      leftOver.map(({ id }) => id),
      now,
    );
    for (const { id, parent } of leftOver) {
      const detail = `with ${parent}, which it was made with`;
      audit.record({ actor: "gateway", action: "token.revoked", subject: id, detail });
    }
  }

  #hold(token: StoredToken): void {
    const { id, can, limits, expiresAt } = token;
    const parent = token.parent === undefined ? undefined : this.#held.get(token.parent)?.grant;
    const init = { actor: tokenSubmitter(id), token: id, can, limits, expiresAt, parent };
    const grant = new Grant(init, this.#init.clock);
    this.#held.set(id, { token, grant });
    const state = tokenState(token, this.#init.clock.now());
    if (state !== "active") grant.end(failed(ENDED[state], { code: state }));
  }

  #end(id: TokenId, reason: ClusterError): void {
    this.#held.get(id)?.grant.end(reason);
  }

  #withDescendants(id: TokenId): readonly TokenId[] {
    const byParent = Map.groupBy(this.#held.values(), ({ token }) => token.parent);
    const ids = [id];
    for (const each of ids) ids.push(...(byParent.get(each) ?? []).map(({ token }) => token.id));
    return ids;
  }

  /** Ends what has expired, forgets what ended long ago, and comes back for the next. The wall clock may jump, so it looks often. */
  #expire(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    const { clock, audit } = this.#init;
    const now = clock.now();
    let next = Infinity;
    for (const { token, grant } of this.#held.values()) {
      if (!grant.ended.aborted && token.expiresAt !== undefined && token.expiresAt <= now) {
        grant.end(failed(ENDED.expired, { code: "expired" }));
        audit.record({ actor: "gateway", action: "token.expired", subject: token.id });
      }
      const end = endOf(token);
      next = Math.min(next, grant.ended.aborted ? end + TOKEN_KEPT_AFTER_END_MS + 1 : end);
    }
    if (next <= now) {
      this.#forget(now - TOKEN_KEPT_AFTER_END_MS);
      next = now + CLOCK_CHECK_EVERY_MS;
    }
    if (next === Infinity) return;
    this.#timer = clock.setTimer(Math.max(1, Math.min(CLOCK_CHECK_EVERY_MS, next - now)), () => this.#expire());
  }

  /** Forgets what ended before. What came of it ended no later, and goes with it. */
  #forget(endedBefore: number): void {
    for (const [id, { token, grant }] of this.#held) {
      if (!grant.ended.aborted || endOf(token) >= endedBefore) continue;
      grant.forget();
      this.#held.delete(id);
    }
    // What the store cannot forget now, it will when the gateway starts again.
    this.#init.store.forgetTokens(endedBefore).catch(() => {});
  }

  /** Tokens that have ended are shown for a while, unless others need their place. */
  #makeRoom(): void {
    if (this.#held.size < TOKENS_MAX) return;
    const ends = Array.from(this.#held.values(), ({ token, grant }) => (grant.ended.aborted ? endOf(token) : Infinity));
    const firstEnd = ends.reduce((first, end) => Math.min(first, end), Infinity);
    if (firstEnd < Infinity) this.#forget(firstEnd + 1);
    if (this.#held.size < TOKENS_MAX) return;
    throw overloaded(`there are ${TOKENS_MAX} tokens: revoke some that nobody needs`, { code: "too-many-tokens" });
  }

  #makeId(): TokenId {
    for (;;) {
      const text = Array.from(this.#init.randomBytes(ID_BYTES), (byte) => ID_ALPHABET[byte % 32] ?? "a").join("");
      const id = parseTokenId(text);
      if (id !== undefined && !this.#held.has(id)) return id;
    }
  }
}

/** When it ended or will; Infinity: it has neither been revoked nor does it expire. */
function endOf({ revokedAt = Infinity, expiresAt = Infinity }: StoredToken): number {
  return Math.min(revokedAt, expiresAt);
}

function withoutSecret({ secretHash: _hidden, ...token }: StoredToken): Token {
  return token;
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
