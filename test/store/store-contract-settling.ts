/** The store's contract: how attempts end. */
import { expect, test } from "vitest";
import { ATTEMPTS_KEPT_PER_RUN_MAX, LOST_ATTEMPTS_MAX, RESULT_TEXT_BYTES_MAX } from "../../src/base/limits.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  FAILED,
  LOST,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  attemptOf,
  bytesOf,
  create,
  createRunning,
  taskSpec,
} from "./store-samples.ts";

const NOW = { now: T0 + 50, backoffJitter: 0 };

export function describeSettling(open: OpenStore): void {
  test("commits an outcome with all that belongs to it", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t", { complete: 3 }));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("out"));
    await store.appendOutput(attempt, 3, "stderr", bytesOf("err"));
    const end = attemptEnd({ kind: "exited", code: 0 }, { value: "2832", outputBytes: 6, outputTruncated: true });
    const settled = await store.settle(attempt, end, NOW);
    const result = { value: "2832", stdout: "out", stderr: "err", exitCode: 0 };
    expect(settled).toMatchObject({
      kind: "settled",
      task: { state: "succeeded", finishedAt: T0 + 50, result, runningSince: [], counts: { succeeded: 1, running: 0 } },
      run: {
        state: "succeeded",
        outcome: end.outcome,
        result,
        usage: end.usage,
        outputBytes: 6,
        outputTruncated: true,
        attempts: [{ number: 1, state: "succeeded", startedAt: T0, finishedAt: T0 + 50, outcome: end.outcome }],
      },
    });
    if (settled.kind === "stale") return;
    expect(settled.task.reason).toBeUndefined();
    expect(await store.getTask(task.spec.id)).toEqual(settled.task);
    expect(await store.getRun(task.spec.id, 1)).toEqual(settled.run);
  });

  test("accepts one result of an attempt", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const ends = [attemptEnd(), attemptEnd({ kind: "exited", code: 1 }), LOST];
    const results = await Promise.all(ends.map((end) => store.settle(attempt, end, NOW)));
    expect(results.map((result) => result.kind)).toEqual(["settled", "stale", "stale"]);
    expect(await store.getTask(attempt.task)).toMatchObject({ state: "succeeded" });
  });

  test("refuses the result of an attempt that was taken away", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.settle(attempt, LOST, NOW);
    expect(await store.settle(attempt, attemptEnd(), NOW)).toEqual({ kind: "stale" });
    const second = { ...attempt, attempt: 2 };
    expect(await store.lease(second, WORKER_B, T0 + 60, T0 + 99)).toBe(true);
    expect(await store.settle(attempt, attemptEnd(), NOW)).toEqual({ kind: "stale" });
    expect(await store.settle(second, attemptEnd(), NOW)).toMatchObject({ kind: "settled" });
    expect((await store.getRun(attempt.task, 1))?.attempts).toMatchObject([
      { number: 1, worker: WORKER_A, state: "lost", outcome: LOST.outcome },
      { number: 2, worker: WORKER_B, state: "succeeded" },
    ]);
  });

  test.each(["cancel first", "settle first"])("decides between cancel and settle: %s", async (order) => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const cancel = () => store.cancelTask(attempt.task, "stop", T0 + 1);
    const settle = () => store.settle(attempt, attemptEnd(), NOW);
    if (order === "cancel first") {
      const [cancelled, settled] = await Promise.all([cancel(), settle()]);
      expect([cancelled.kind, settled.kind]).toEqual(["cancelled", "stale"]);
      expect(await store.getTask(attempt.task)).toMatchObject({
        state: "cancelled",
        counts: { cancelled: 1, running: 0 },
      });
    } else {
      const [settled, cancelled] = await Promise.all([settle(), cancel()]);
      expect([cancelled.kind, settled.kind]).toEqual(["already-finished", "settled"]);
      expect(await store.getTask(attempt.task)).toMatchObject({ state: "succeeded" });
    }
  });

  test("tries a failed attempt again after its back-off", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t", { retries: 2, backoffMs: 1_000 }));
    const failure = attemptEnd({ kind: "exited", code: 9 });
    const first = await store.settle(attempt, failure, { now: T0, backoffJitter: 0 });
    expect(first).toMatchObject({ run: { state: "ready" }, task: { state: "ready" }, backoffEnd: T0 + 500 });
    expect(await store.nextBackoffEnd(T0)).toBe(T0 + 500);
    expect(await store.promoteDue(T0 + 499, 10)).toMatchObject({ hasEndedBackoffs: false, nextDueAt: T0 + 500 });
    expect(await store.listReady(T0 + 499, 10)).toEqual([]);
    expect(await store.listReady(T0 + 500, 10)).toMatchObject([{ nextAttempt: 2, triedWorkers: [WORKER_A] }]);
    expect(await store.nextBackoffEnd(T0 + 500)).toBeUndefined();
    await store.lease(attemptOf(task, 1, 2), WORKER_B, T0 + 500, T0 + 9_000);
    await store.settle(attemptOf(task, 1, 2), failure, { now: T0 + 600, backoffJitter: 0.5 });
    expect(await store.nextBackoffEnd(T0 + 600)).toBe(T0 + 600 + 1_500);
    expect(await store.promoteDue(T0 + 2_100, 10)).toMatchObject({ hasEndedBackoffs: true, nextDueAt: undefined });
    const ready = await store.listReady(T0 + 2_100, 10);
    expect(ready).toMatchObject([{ nextAttempt: 3 }]);
    expect(ready[0]?.triedWorkers.toSorted()).toEqual([WORKER_A, WORKER_B]);
    await store.lease(attemptOf(task, 1, 3), WORKER_A, T0 + 2_100, T0 + 9_000);
    const last = await store.settle(attemptOf(task, 1, 3), failure, { now: T0 + 3_000, backoffJitter: 0 });
    expect(last).toMatchObject({
      backoffEnd: undefined,
      run: { state: "failed", outcome: failure.outcome },
      task: { state: "failed", reason: "exited with code 9", finishedAt: T0 + 3_000, result: { exitCode: 9 } },
    });
  });

  test("ends back-offs as many at a time as it is told, and says at once that there are more", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const id of ["a", "b", "c"]) {
      const { attempt } = await createRunning(store, taskSpec(id, { retries: 1, backoffMs: 100 }));
      await store.settle(attempt, FAILED, { now: T0, backoffJitter: 1 });
    }
    const now = T0 + 100;
    expect(await store.promoteDue(now, 2)).toMatchObject({ hasEndedBackoffs: true, nextDueAt: now });
    expect(await store.promoteDue(now, 2)).toMatchObject({ hasEndedBackoffs: true, nextDueAt: undefined });
    expect(await store.promoteDue(now, 2)).toMatchObject({ hasEndedBackoffs: false, nextDueAt: undefined });
    expect(await store.listReady(now, 10)).toHaveLength(3);
  });

  test("keeps what is ready before what has just ended its back-off, by the same order", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("retried", { retries: 1, backoffMs: 100, priority: 5 }));
    await create(store, taskSpec("plain", { priority: 1 }));
    await create(store, taskSpec("urgent", { priority: 9 }));
    await store.settle(attempt, attemptEnd({ kind: "trapped", reason: "unreachable" }), { now: T0, backoffJitter: 0 });
    const order = async (now: number) => (await store.listReady(now, 10)).map((run) => run.spec.id);
    expect(await order(T0 + 49)).toEqual(["urgent", "plain"]);
    expect(await order(T0 + 50)).toEqual(["urgent", "retried", "plain"]);
    expect((await store.listReady(T0 + 50, 2)).map((run) => run.spec.id)).toEqual(["urgent", "retried"]);
  });

  test("tries a lost attempt again at once, until the run is poisoned", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t"));
    for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX; attempt += 1) {
      await store.lease(attemptOf(task, 1, attempt), WORKER_A, T0, T0 + 1_000);
      const settled = await store.settle(attemptOf(task, 1, attempt), LOST, NOW);
      expect(settled).toMatchObject({ run: { state: attempt < LOST_ATTEMPTS_MAX ? "ready" : "failed" } });
    }
    const run = await store.getRun(task.spec.id, 1);
    expect(run?.outcome).toEqual({ kind: "lost", reason: "poisoned" });
    expect(run?.attempts.map(({ outcome }) => outcome)).toEqual(Array(LOST_ATTEMPTS_MAX).fill(LOST.outcome));
    expect((await store.getTask(task.spec.id))?.reason).toBe("poisoned");
  });

  test("says which run was poisoned where there are several", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 2 }));
    for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX; attempt += 1) {
      await store.lease(attemptOf(task, 2, attempt), WORKER_A, T0, T0 + 1_000);
      await store.settle(attemptOf(task, 2, attempt), LOST, NOW);
    }
    expect((await store.getRun(task.spec.id, 2))?.outcome).toEqual({ kind: "lost", reason: "poisoned" });
    await store.lease(attemptOf(task), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(task), attemptEnd(), NOW);
    expect((await store.getTask(task.spec.id))?.reason).toBe("run 2 poisoned");
  });

  test("does not hold a blameless loss against the run", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t"));
    for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX + 3; attempt += 1) {
      await store.lease(attemptOf(task, 1, attempt), WORKER_A, T0, T0 + 1_000);
      await store.settle(attemptOf(task, 1, attempt), LOST, { ...NOW, isBlameless: true });
    }
    expect(await store.getTask(task.spec.id)).toMatchObject({ state: "ready" });
  });

  test("remembers the latest of very many attempts", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt: first } = await createRunning(store, taskSpec("t"));
    const count = ATTEMPTS_KEPT_PER_RUN_MAX + 5;
    for (let attempt = 1; attempt <= count; attempt += 1) {
      const id = { ...first, attempt };
      if (attempt > 1) void store.lease(id, WORKER_A, T0 + attempt, T0 + 1_000);
      void store.settle(id, LOST, { ...NOW, isBlameless: true });
    }
    const run = await store.getRun(first.task, 1);
    expect(run?.attempts.map((attempt) => attempt.number)).toEqual(
      Array.from({ length: ATTEMPTS_KEPT_PER_RUN_MAX }, (_, index) => index + 6),
    );
    expect(await store.listReady(T0 + 99, 1)).toMatchObject([{ nextAttempt: count + 1, triedWorkers: [WORKER_A] }]);
  });

  test("goes on with later runs after a failed one, and has failed in the end", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 3 }));
    const outcomes: readonly Outcome[] = [
      { kind: "exited", code: 0 },
      { kind: "trapped", reason: "unreachable" },
      { kind: "exited", code: 0 },
    ];
    const states: string[] = [];
    for (const [offset, outcome] of outcomes.entries()) {
      const attempt = attemptOf(task, offset + 1);
      await store.lease(attempt, WORKER_A, T0, T0 + 1_000);
      await store.settle(attempt, attemptEnd(outcome, { value: String(offset) }), NOW);
      states.push((await store.getTask(task.spec.id))?.state ?? "");
    }
    expect(states).toEqual(["ready", "ready", "failed"]);
    expect(await store.getTask(task.spec.id)).toMatchObject({
      counts: { succeeded: 2, failed: 1 },
      reason: "run 2 trapped: unreachable",
      result: { value: "2" },
    });
  });

  test("has the result of the run that finished last, not of the last run", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 2 }));
    for (const run of [2, 1]) {
      await store.lease(attemptOf(task, run), WORKER_A, T0, T0 + 1_000);
      await store.settle(attemptOf(task, run), attemptEnd(undefined, { value: String(run) }), NOW);
    }
    expect((await store.getTask(task.spec.id))?.result?.value).toBe("1");
  });

  test.each<[Outcome, string]>([
    [{ kind: "timed-out", reason: "wall time" }, "timed out: wall time"],
    [{ kind: "memory-exceeded", reason: "256 MiB" }, "used more memory than it may: 256 MiB"],
    [{ kind: "output-exceeded" }, "wrote more output than it may"],
    [{ kind: "rejected", reason: "no entry" }, "was rejected: no entry"],
  ])("says why a task failed: %j", async (outcome, reason) => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    expect(await store.settle(attempt, attemptEnd(outcome), NOW)).toMatchObject({ task: { state: "failed", reason } });
  });

  test("is cancelled when a worker says that its attempt was", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const settled = await store.settle(attempt, attemptEnd({ kind: "cancelled", reason: "revoked" }), NOW);
    expect(settled).toMatchObject({
      task: { state: "cancelled", isCancelled: false, reason: "was cancelled: revoked" },
    });
  });

  test("cuts a result's text at a character's end", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const text = `a${"é".repeat(RESULT_TEXT_BYTES_MAX)}`;
    await store.appendOutput(attempt, 0, "stderr", new Uint8Array([0xff, 0x41]));
    await store.appendOutput(attempt, 2, "stdout", bytesOf(text));
    const settled = await store.settle(attempt, attemptEnd(), NOW);
    expect(settled).toMatchObject({ run: { result: { stderr: "\ufffdA" } } });
    const stdout = settled.kind === "settled" ? (settled.run.result?.stdout ?? "") : "";
    expect(stdout).toBe(text.slice(0, stdout.length));
    expect(bytesOf(stdout).length).toBe(RESULT_TEXT_BYTES_MAX - 1);
  });

  test("shows the last attempt's output in the result, and keeps that of all in the log", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t", { retries: 1, backoffMs: 0 }));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("first"));
    await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }, { outputTruncated: true }), NOW);
    const second = { ...attempt, attempt: 2 };
    await store.lease(second, WORKER_A, T0 + 60, T0 + 99);
    expect(await store.appendOutput(second, 0, "stdout", bytesOf("again"))).toEqual({
      kind: "appended",
      durableOffset: 5,
      runOffset: 5,
    });
    const settled = await store.settle(second, attemptEnd(), NOW);
    expect(settled).toMatchObject({ run: { result: { stdout: "again" }, outputBytes: 10, outputTruncated: true } });
  });

  test("takes a NUL and a lone surrogate in a reason", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const reason = "a\u0000b\ud800c";
    await store.cancelTask(attempt.task, reason, T0);
    expect(await store.getTask(attempt.task)).toMatchObject({ reason });
    expect(await store.getRun(attempt.task, 1)).toMatchObject({ outcome: { reason } });
  });
}
