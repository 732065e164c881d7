import { expect, test } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import { CLOCK_CHECK_EVERY_MS, TOKENS_MAX, TOKEN_KEPT_AFTER_END_MS } from "../../src/base/limits.ts";
import { AuditLog } from "../../src/gateway/audit.ts";
import type { Grant } from "../../src/gateway/grant.ts";
import { type MintInit, Tokens } from "../../src/gateway/tokens.ts";
import { parseTokenId } from "../../src/model/token.ts";
import type { CredentialStore } from "../../src/store/credential-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { SqliteHarness } from "../store/sqlite/sqlite-harness.ts";

const HOUR_MS = 3_600_000;
const READER: MintInit = { label: "reader", can: ["read"], limits: {} };

class TokensHarness implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly #files: SqliteHarness;
  readonly #random = new SeededRandom(1);
  audit: AuditLog;
  tokens: Tokens | undefined;

  private constructor(files: SqliteHarness) {
    this.#files = files;
    this.audit = this.#openAudit();
  }

  static async open(): Promise<TokensHarness> {
    return new TokensHarness(await SqliteHarness.open());
  }

  get store(): CredentialStore {
    return this.#files.store;
  }

  /** Opens the tokens, again if they were open. */
  async start(rootToken?: string): Promise<Tokens> {
    if (this.tokens !== undefined) {
      this.tokens[Symbol.dispose]();
      await this.audit.close();
      await this.#files.reopen();
      this.audit = this.#openAudit();
    }
    const { clock, audit } = this;
    const randomBytes = (length: number) => Uint8Array.from({ length }, () => Math.floor(this.#random.next() * 256));
    this.tokens = await Tokens.open({
      store: this.#files.store,
      audit,
      rootToken,
      randomBytes,
      clock,
    });
    return this.tokens;
  }

  async actions(): Promise<readonly string[]> {
    const entries = await this.audit.list({ limit: 100 });
    return entries.map(({ actor, action, subject }) => `${actor} ${action} ${subject}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tokens?.[Symbol.dispose]();
    await this.audit.close();
    await this.#files[Symbol.asyncDispose]();
    expect(this.clock.pendingTimers).toBe(0);
  }

  #openAudit(): AuditLog {
    return new AuditLog({ store: this.#files.store, clock: this.clock, log: silentLog });
  }
}

async function mint(tokens: Tokens, by: Grant, init: Partial<MintInit> = {}) {
  const result = await tokens.mint(by, { ...READER, ...init });
  if (result.kind !== "made") throw new Error(JSON.stringify(result));
  return result;
}

function grantOf(tokens: Tokens, text: string): Grant {
  const recognition = tokens.recognise(text);
  if (recognition.kind !== "known") throw new Error(recognition.kind);
  return recognition.grant;
}

test("recognises a token that it made, over a restart too, and no other", async () => {
  await using harness = await TokensHarness.open();
  const before = await harness.start();
  const { text, token } = await mint(before, before.local);
  const tokens = await harness.start();
  expect(grantOf(tokens, text)).toMatchObject({ actor: `token:${token.id}`, authority: { can: ["read"] } });
  const wrong = `${text.slice(0, -1)}${text.endsWith("A") ? "B" : "A"}`;
  for (const other of [wrong, "", "cm_", token.id, text.slice(0, -1), `${text}A`]) {
    expect([other, tokens.recognise(other)]).toEqual([other, { kind: "unknown" }]);
  }
});

test("keeps no token's secret", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const { text } = await mint(tokens, tokens.local);
  const secret = text.slice(-43);
  expect(JSON.stringify(tokens.list())).not.toContain(secret);
  expect(JSON.stringify(await harness.audit.list({ limit: 10 }))).not.toContain(secret);
});

test("the gateway's own token can do everything, and is not listed", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start("the-root-token");
  expect(grantOf(tokens, "the-root-token").can("admin")).toBe(true);
  expect(tokens.recognise("the-root-tokem")).toEqual({ kind: "unknown" });
  expect(tokens.list()).toEqual([]);
});

test("a token makes only narrower ones", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const limits = { submitsPerSecond: 5 };
  const { text } = await mint(tokens, tokens.local, { can: ["submit"], limits, lifetimeMs: HOUR_MS });
  const parent = grantOf(tokens, text);
  const wide = await tokens.mint(parent, {
    label: "",
    can: ["submit", "admin"],
    limits: {},
    lifetimeMs: HOUR_MS + 1,
  });
  expect(wide.kind === "too-wide" && wide.excess.map(({ field }) => field)).toEqual(["can", "for", "submitsPerSecond"]);
  const narrow = await mint(tokens, parent, {
    can: ["submit"],
    limits: { submitsPerSecond: 1 },
    lifetimeMs: 1_000,
  });
  const unsaid = await mint(tokens, parent, { can: ["submit"], limits });
  expect(unsaid.token.expiresAt).toBe(parent.authority.expiresAt);
  expect(narrow.token).toMatchObject({ createdBy: parent.actor, parent: parent.token });
});

test("revoking a token ends it and all that came of it at once, and for good", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const parent = await mint(tokens, tokens.local, { can: ["admin"] });
  const child = await mint(tokens, grantOf(tokens, parent.text));
  const other = await mint(tokens, tokens.local);
  const given = grantOf(tokens, child.text).narrow(["read"]);
  expect(await tokens.revoke(tokens.local, parent.token.id)).toBe(true);
  expect(given.ended.reason).toMatchObject({ code: "revoked" });
  expect(() => given.require("read")).toThrow("revoked");
  for (const restarted of [tokens, await harness.start()]) {
    expect(restarted.recognise(parent.text)).toEqual({ kind: "ended", state: "revoked" });
    expect(restarted.recognise(child.text)).toEqual({ kind: "ended", state: "revoked" });
    expect(restarted.recognise(other.text).kind).toBe("known");
  }
  expect(await harness.actions()).toEqual([
    `local token.revoked ${child.token.id}`,
    `local token.revoked ${parent.token.id}`,
    `local token.created ${other.token.id}`,
    `token:${parent.token.id} token.created ${child.token.id}`,
    `local token.created ${parent.token.id}`,
  ]);
});

test("revoking a token ends what came of it, though the clock was set back before that was made", async () => {
  await using harness = await TokensHarness.open();
  const before = await harness.start();
  const parent = await mint(before, before.local, { can: ["admin"] });
  harness.clock.jump(-HOUR_MS);
  const child = await mint(before, grantOf(before, parent.text), { can: ["admin"] });
  harness.clock.jump(-HOUR_MS);
  const grandchild = await mint(before, grantOf(before, child.text));
  const tokens = await harness.start();
  await tokens.revoke(tokens.local, parent.token.id);
  for (const restarted of [tokens, await harness.start()]) {
    for (const { text } of [parent, child, grandchild]) {
      expect(restarted.recognise(text)).toEqual({ kind: "ended", state: "revoked" });
    }
  }
});

test("a token that a revoked one left behind is revoked when the gateway starts", async () => {
  await using harness = await TokensHarness.open();
  const before = await harness.start();
  const parent = await mint(before, before.local, { can: ["admin"] });
  const child = await mint(before, grantOf(before, parent.text), { can: ["admin"] });
  const grandchild = await mint(before, grantOf(before, child.text));
  // As if the gateway had stopped between the parent's end and the child's.
  await harness.store.revokeTokens([parent.token.id], harness.clock.now());
  for (const tokens of [await harness.start(), await harness.start()]) {
    for (const { text } of [child, grandchild]) {
      expect(tokens.recognise(text)).toEqual({ kind: "ended", state: "revoked" });
    }
  }
  const { id } = grandchild.token;
  expect((await harness.actions()).filter((action) => action === `gateway token.revoked ${id}`)).toHaveLength(1);
});

test("a token expires by the wall clock, though nobody asks for it, and ends what was given out on it", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const { text, token } = await mint(tokens, tokens.local, { lifetimeMs: HOUR_MS });
  const grant = grantOf(tokens, text);
  harness.clock.advance(HOUR_MS - 1);
  expect(grant.ended.aborted).toBe(false);
  harness.clock.advance(1);
  expect(grant.ended.reason).toMatchObject({ code: "expired" });
  expect(tokens.recognise(text)).toEqual({ kind: "ended", state: "expired" });
  expect(await harness.actions()).toContain(`gateway token.expired ${token.id}`);
});

test("forgets ended tokens after a while", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const { token } = await mint(tokens, tokens.local);
  await tokens.revoke(tokens.local, token.id);
  harness.clock.jump(TOKEN_KEPT_AFTER_END_MS);
  expect((await harness.start()).list()).toHaveLength(1);
  harness.clock.jump(1);
  expect((await harness.start()).list()).toEqual([]);
});

test("forgets ended tokens while it runs, too", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const revoked = await mint(tokens, tokens.local);
  await mint(tokens, tokens.local, { lifetimeMs: HOUR_MS });
  const kept = await mint(tokens, tokens.local);
  await tokens.revoke(tokens.local, revoked.token.id);
  for (let passed = 0; passed <= TOKEN_KEPT_AFTER_END_MS + 2 * HOUR_MS; passed += HOUR_MS) harness.clock.jump(HOUR_MS);
  harness.clock.advance(CLOCK_CHECK_EVERY_MS);
  expect(tokens.list().map(({ id }) => id)).toEqual([kept.token.id]);
  expect(tokens.recognise(revoked.text)).toEqual({ kind: "unknown" });
  const stored = await harness.store.listTokens();
  expect(stored.map(({ id }) => id)).toEqual([kept.token.id]);
});

test("there are only so many tokens, and ended ones give their place to new ones", async () => {
  const clock = new ManualClock();
  const now = clock.now();
  const stored = Array.from({ length: TOKENS_MAX }, (_, index) => {
    const id = parseTokenId(`t${String(index).padStart(11, "0")}`);
    if (id === undefined) throw new Error("no id");
    const common = {
      id,
      label: "",
      can: ["read"],
      limits: {},
      createdBy: "local",
      secretHash: new Uint8Array(32),
    } as const;
    return { ...common, createdAt: now, revokedAt: index < 2 ? now - index : undefined };
  });
  const forgotten: number[] = [];
  const store: CredentialStore = {
    listTokens: async () => stored,
    createToken: async () => {},
    revokeTokens: async () => {},
    forgetTokens: async (endedBefore) => void forgotten.push(endedBefore),
    appendAudit: async () => {},
    listAudit: async () => [],
  };
  const audit = new AuditLog({ store, clock, log: silentLog });
  let made = 0;
  const randomBytes = (length: number) => new Uint8Array(length).fill(++made);
  using tokens = await Tokens.open({ store, audit, randomBytes, clock });
  await mint(tokens, tokens.local);
  await mint(tokens, tokens.local);
  expect(forgotten.slice(1)).toEqual([now, now + 1]);
  await expect(tokens.mint(tokens.local, READER)).rejects.toMatchObject({
    type: "overloaded",
    code: "too-many-tokens",
  });
  await audit.close();
});

test("tokens that are made with a token share its limits", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const limits = { submitsPerSecond: 0.3, queuedTasks: 5, bytesPerHour: 3_600 };
  const parent = await mint(tokens, tokens.local, { can: ["admin"], limits });
  const by = grantOf(tokens, parent.text);
  const one = await mint(tokens, by, { can: ["submit"], limits: { ...limits, queuedTasks: 2 } });
  const other = await mint(tokens, by, { can: ["submit"], limits });
  const restarted = await harness.start();
  const [family, first, second] = [parent, one, other].map(({ text }) => grantOf(restarted, text));
  expect(first?.submitterLimit).toEqual({
    submitter: first?.actor,
    limits: [
      { submitters: [first?.actor], unfinishedMax: 2 },
      { submitters: expect.arrayContaining([family?.actor, first?.actor, second?.actor]), unfinishedMax: 5 },
    ],
  });
  first?.beginSubmit();
  second?.beginSubmit();
  family?.beginSubmit();
  for (const grant of [family, first, second]) {
    expect(() => grant?.beginSubmit()).toThrow(expect.objectContaining({ code: "rate-limited" }));
  }
  harness.clock.advance(10_000);
  first?.spendBytes(3_610);
  expect(() => second?.beginSubmit()).toThrow(expect.objectContaining({ retryAfterMs: 10_000 }));
});

test("a grant holds its rates, together with those that it was narrowed to", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const { text } = await mint(tokens, tokens.local, { can: ["submit"], limits: { submitsPerSecond: 0.2 } });
  const grant = grantOf(tokens, text);
  const narrower = grant.narrow(["submit", "admin"]);
  expect(narrower.can("admin")).toBe(false);
  grant.beginSubmit();
  narrower.beginSubmit();
  expect(() => grant.beginSubmit()).toThrow(
    expect.objectContaining({ type: "overloaded", code: "rate-limited", retryAfterMs: 5_000 }),
  );
  harness.clock.advance(5_000);
  grant.beginSubmit();
});

test("who has brought too many bytes waits until the time allows them", async () => {
  await using harness = await TokensHarness.open();
  const tokens = await harness.start();
  const { text } = await mint(tokens, tokens.local, { can: ["submit"], limits: { bytesPerHour: 3_600 } });
  const grant = grantOf(tokens, text);
  grant.beginSubmit();
  grant.spendBytes(3_610);
  expect(() => grant.beginSubmit()).toThrow(expect.objectContaining({ retryAfterMs: 10_000 }));
  harness.clock.advance(10_000);
  grant.beginSubmit();
});
