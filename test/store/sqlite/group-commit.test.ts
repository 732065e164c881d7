import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { failed } from "../../../src/base/errors.ts";
import { STORE_GROUP_OPERATIONS_MAX, STORE_PENDING_OPERATIONS_MAX } from "../../../src/base/limits.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { GroupCommit, type RequestSource } from "../../../src/store/sqlite/group-commit.ts";
import type { Reply, Request } from "../../../src/store/sqlite/messages.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, attemptOf, peerId, taskId, taskSpec } from "../store-samples.ts";
import { containing } from "../containing.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

describe("group commit", () => {
  test("shares disk syncs among concurrent writers", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    const before = store.stats;
    const rounds = 20;
    const writers = Array.from({ length: 50 }, async (_, writer) => {
      for (let round = 0; round < rounds; round += 1) {
        const created = await store.createTask(taskSpec(`w${writer}-${round}`), INSPECTION, T0);
        expect(created.kind).toBe("created");
      }
    });
    await Promise.all(writers);
    const { commits, operations } = store.stats;
    expect(operations - before.operations).toBe(50 * rounds);
    expect(commits - before.commits).toBeLessThan((50 * rounds) / 5);
  });

  test("counts no transaction that only reads, or changes nothing", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    await store.measureQueue();
    await store.promoteDue(T0, 10);
    expect(store.stats.commits).toBe(0);
  });

  test("answers a batch in order over many groups", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    const count = 3 * STORE_GROUP_OPERATIONS_MAX + 1;
    const order: number[] = [];
    const calls = Array.from({ length: count }, async (_, index) => {
      await store.createTask(taskSpec(`t${index}`), INSPECTION, T0);
      order.push(index);
      return store.getTask(taskId(`t${index}`));
    });
    const tasks = await Promise.all(calls);
    expect(tasks.every((task) => task !== undefined)).toBe(true);
    expect(order).toEqual(Array.from({ length: count }, (_, index) => index));
    expect(store.stats.commits).toBeLessThan(20);
  });

  test("refuses more than may wait, and takes more once that is done", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    const waiting = Array.from({ length: STORE_PENDING_OPERATIONS_MAX }, () => store.measureQueue());
    await expect(store.measureQueue()).rejects.toMatchObject({ type: "overloaded", code: "store-busy" });
    await Promise.all(waiting);
    expect(store.stats.pending).toBe(0);
    expect((await store.measureQueue()).tasks).toBe(0);
  });

  test("undoes an operation that fails and keeps its neighbours", () => {
    using file = new GroupFile();
    const operations = operationsOn(file.db);
    const group = new GroupCommit(file.db, {
      ...operations,
      setAdmission: (args) => {
        operations.setAdmission(args);
        if (args.admission === "barred") throw failed("not this one", { code: "refused" });
      },
    });
    const peers = ["A", "B", "C"].map(peerId);
    const requests = peers.map((peer, index): Request => {
      const admission = index === 1 ? "barred" : "admitted";
      return { id: index, name: "setAdmission", args: { peer, admission, now: T0 } };
    });
    const replies = group.next(queueOf(requests));
    expect(replies.map(outcomeOf)).toEqual(["ok", "refused", "ok"]);
    expect(peers.map((peer) => operations.getAdmission({ peer }))).toEqual(["admitted", undefined, "admitted"]);
    expect(group.commits).toBe(1);
  });

  test("answers reads at the head without a commit, and the rest in its order", () => {
    using file = new GroupFile();
    const group = new GroupCommit(file.db, operationsOn(file.db));
    const read = (id: number): Request => ({ id, name: "measureQueue", args: {} });
    const queue = queueOf([read(0), read(1), createRequest(2, "a"), read(3), createRequest(4, "b"), read(5)]);
    expect(group.next(queue)).toMatchObject([
      { id: 0, answer: { tasks: 0 } },
      { id: 1, answer: { tasks: 0 } },
    ]);
    const replies = group.next(queue);
    expect(replies.map((reply) => reply.id)).toEqual([2, 3, 4, 5]);
    expect([replies[1], replies[3]]).toMatchObject([
      { id: 3, answer: { tasks: 1 } },
      { id: 5, answer: { tasks: 2 } },
    ]);
  });

  test("on a full disk, does what still fits and refuses the rest with a sentence", () => {
    using file = new GroupFile();
    const group = new GroupCommit(file.db, operationsOn(file.db));
    const pages = Number(file.db.get("PRAGMA page_count")?.page_count);
    file.db.get(`PRAGMA max_page_count = ${pages + 20}`);
    const requests = [createRequest(0, "small1"), createRequest(1, "large", 1_000_000), createRequest(2, "small2")];
    const queue = queueOf(requests);
    const replies: Reply[] = [];
    while (queue.peek() !== undefined) replies.push(...group.next(queue));
    expect(replies.map(outcomeOf)).toEqual(["ok", "store-unavailable", "ok"]);
    expect(replies[1]).toMatchObject({
      error: { type: "failed", message: containing("free some space") },
    });
    const ids = group.next(
      queueOf([{ id: 9, name: "listTasks", args: { state: undefined, limit: 9, belowSerial: 1e9 } }]),
    );
    expect(ids).toMatchObject([{ answer: { tasks: [{ counts: { ready: 1 } }, { counts: { ready: 1 } }] } }]);
    expect(file.db.get("SELECT value FROM counters WHERE name = 'unfinished'")?.value).toBe(2);
  });

  test("puts small writes to a log together in few rows", () => {
    using file = new GroupFile();
    const group = new GroupCommit(file.db, operationsOn(file.db));
    const attempt = { task: taskId("t"), serial: 1, run: 1, attempt: 1 };
    const lease = { id: attempt, worker: WORKER_A, now: T0, leaseUntil: T0 + 1_000 };
    const appends = Array.from({ length: 10_000 }, (_, index): Request => {
      const stream = index % 3 === 0 ? "stderr" : "stdout";
      return { id: index, name: "appendOutput", args: { id: attempt, offset: index, stream, bytes: Uint8Array.of(7) } };
    });
    const queue = queueOf([createRequest(-2, "t"), { id: -1, name: "lease", args: lease }, ...appends]);
    while (queue.peek() !== undefined) expect(group.next(queue).map(outcomeOf)).not.toContain("store-unavailable");
    expect(file.db.get("SELECT sum(length(bytes)) AS n FROM output")?.n).toBe(10_000);
    expect(file.db.get("SELECT count(*) AS n FROM output")?.n).toBeLessThan(10);
  });

  test("removes what a deleted task has left in pieces, also after a restart", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    const created = await store.createTask(taskSpec("long", { repeats: 2_000 }), INSPECTION, T0);
    if (created.kind !== "created") throw new Error("the id is free");
    for (let run = 1; run <= 2_000; run += 1) {
      void store.lease(attemptOf(created.task, run), WORKER_A, T0, T0 + 1_000);
      void store.settle(attemptOf(created.task, run), attemptEnd(), { now: T0, backoffJitter: 0 });
    }
    await store.deleteTask(taskId("long"));
    await store.close();
    const leftovers = countRows(harness.path);
    expect(leftovers.tasks).toBe(0);
    await harness.reopen();
    await harness.store.setAdmission(WORKER_A, "admitted", T0);
    while (countRows(harness.path).graves > 0) await harness.store.measureQueue();
    expect(countRows(harness.path)).toEqual({ tasks: 0, specs: 0, runs: 0, attempts: 0, output: 0, graves: 0 });
  });
});

/** A database in a folder of its own, on the test's thread. */
class GroupFile implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "capmesh-group-"));
  readonly db = Database.open(join(this.#folder, "capmesh.db"));

  [Symbol.dispose](): void {
    this.db[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }
}

function countRows(path: string): Record<"tasks" | "specs" | "runs" | "attempts" | "output" | "graves", number> {
  using db = Database.open(path);
  const count = (table: string) => Number(db.get(`SELECT count(*) AS n FROM ${table}`)?.n);
  return {
    tasks: count("tasks"),
    specs: count("specs"),
    runs: count("runs"),
    attempts: count("attempts"),
    output: count("output"),
    graves: count("graves"),
  };
}

function createRequest(id: number, name: string, stdinBytes = 0): Request {
  const spec = taskSpec(name, { stdin: new Uint8Array(stdinBytes) });
  return { id, name: "createTask", args: { task: encodeNewTask(spec, INSPECTION), now: T0, key: undefined } };
}

function queueOf(requests: readonly Request[]): RequestSource {
  let head = 0;
  return { peek: () => requests[head], shift: () => requests[head++] };
}

function outcomeOf(reply: Reply): string {
  return "error" in reply ? reply.error.code : "ok";
}
