import { expect, test, vi } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import {
  AUDIT_BATCH_MAX,
  AUDIT_READ_WAIT_MS_MAX,
  AUDIT_REFUSALS_BURST,
  AUDIT_SUBJECT_LENGTH_MAX,
} from "../../src/base/limits.ts";
import { AuditLog } from "../../src/gateway/audit.ts";
import { SqliteHarness } from "../store/sqlite/sqlite-harness.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ENTRY = { actor: "local", action: "task.submitted", subject: "a" } as const;

test("a reader waits for what was recorded before, and for nothing that comes meanwhile", async () => {
  await using files = await SqliteHarness.open();
  const { store } = files;
  const audit = new AuditLog({ store, clock: new ManualClock(), log: silentLog });
  const append = store.appendAudit.bind(store);
  // There is always more: each batch that is stored brings one more.
  using appended = vi.spyOn(store, "appendAudit").mockImplementation(async (entries) => {
    await append(entries);
    if (appended.mock.calls.length < 1_000) audit.record({ ...ENTRY, subject: "later" });
  });
  for (let count = 0; count <= AUDIT_BATCH_MAX; count++) audit.record(ENTRY);
  const entries = await audit.list({ limit: 2 * AUDIT_BATCH_MAX });
  expect(entries.filter(({ subject }) => subject === "a")).toHaveLength(AUDIT_BATCH_MAX + 1);
  expect(appended.mock.calls.length).toBeLessThan(1_000);
  await audit.close();
});

test("a reader is told when the store takes nothing, and does not wait for it", async () => {
  await using files = await SqliteHarness.open();
  const { store } = files;
  const clock = new ManualClock();
  const audit = new AuditLog({ store, clock, log: silentLog });
  using appended = vi.spyOn(store, "appendAudit").mockRejectedValue(new Error("the disk is full"));
  audit.record(ENTRY);
  const read = audit.list({ limit: 10 }).catch((error: unknown) => error);
  await expect.poll(() => appended.mock.calls.length).toBeGreaterThan(0);
  clock.advance(AUDIT_READ_WAIT_MS_MAX);
  expect(await read).toMatchObject({ type: "overloaded", code: "store-unavailable" });
  appended.mockRestore();
  await audit.close();
  expect(clock.pendingTimers).toBe(0);
});

test("what floods is rated and then counted, and a subject is cut", async () => {
  await using files = await SqliteHarness.open();
  const clock = new ManualClock();
  const audit = new AuditLog({ store: files.store, clock, log: silentLog });
  for (let count = 0; count < AUDIT_REFUSALS_BURST + 7; count++) {
    audit.recordSession({ ...ENTRY, action: "session.opened", subject: "x".repeat(20_000) });
  }
  clock.advance(1_000);
  audit.recordSession({ ...ENTRY, action: "session.opened", detail: "can read" });
  const entries = await audit.list({ limit: 1_000 });
  expect(entries).toHaveLength(AUDIT_REFUSALS_BURST + 1);
  expect(entries[0]?.detail).toBe("7 more before it were not written; can read");
  expect(entries[1]?.subject).toHaveLength(AUDIT_SUBJECT_LENGTH_MAX);
  await audit.close();
});
