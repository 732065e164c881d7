/** The store's contract: leases. */
import { expect, test } from "vitest";
import type { OpenStore } from "./store-harness.ts";
import {
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

export function describeLeases(open: OpenStore): void {
  test("begins an attempt", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t"), T0);
    expect(await store.getTask(task.spec.id)).toMatchObject({ state: "running", runningSince: [T0] });
    expect(await store.getRun(task.spec.id, 1)).toMatchObject({
      state: "running",
      attempts: [{ number: 1, worker: WORKER_A, state: "running", startedAt: T0 }],
    });
    expect(await store.listRunning()).toEqual([
      {
        id: attempt,
        worker: WORKER_A,
        leaseUntil: T0 + 15_000,
        startedAt: T0,
        outputBytes: 0,
        outputBytesMax: 1_048_576,
        timeoutMs: task.spec.timeoutMs,
      },
    ]);
    expect(await store.listReady(T0, 10)).toEqual([]);
  });

  test("gives an attempt to one of many that want it", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t"));
    const workers = [WORKER_A, WORKER_B, WORKER_A, WORKER_B];
    const won = await Promise.all(workers.map((worker) => store.lease(attemptOf(task), worker, T0, T0 + 1_000)));
    expect(won).toEqual([true, false, false, false]);
    expect(await store.listRunning(WORKER_B)).toEqual([]);
  });

  test("refuses an attempt that is not the next, or not of a ready run", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 2, delayMs: 1_000 }));
    const lease = (run: number, attempt: number) => store.lease(attemptOf(task, run, attempt), WORKER_A, T0, T0 + 1);
    expect(await lease(1, 0)).toBe(false);
    expect(await lease(1, 2)).toBe(false);
    expect(await lease(2, 1)).toBe(false);
    expect(await lease(3, 1)).toBe(false);
    expect(await store.lease({ ...attemptOf(task), serial: task.serial + 1 }, WORKER_A, T0, T0 + 1)).toBe(false);
    expect(await lease(1, 1)).toBe(true);
    expect(await lease(1, 2)).toBe(false);
  });

  test("renews what runs on the worker, and names what does not", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("a"));
    const over = (await createRunning(store, taskSpec("over"))).attempt;
    await store.settle(over, attemptEnd(), { now: T0, backoffJitter: 0 });
    const elsewhere = attemptOf(await create(store, taskSpec("elsewhere")));
    await store.lease(elsewhere, WORKER_B, T0, T0 + 1_000);
    const later = { ...attempt, attempt: 2 };
    const refused = await store.renew([over, attempt, elsewhere, later], WORKER_A, T0 + 99_000);
    expect(refused).toEqual([over, elsewhere, later]);
    const leases = (await store.listRunning()).map((running) => [running.id.task, running.leaseUntil] as const);
    expect(new Map(leases)).toEqual(
      new Map([
        [task.spec.id, T0 + 99_000],
        [elsewhere.task, T0 + 1_000],
      ]),
    );
  });

  test("lists what runs on one worker", async () => {
    await using harness = await open();
    const { store } = harness;
    await createRunning(store, taskSpec("a"));
    const task = await create(store, taskSpec("b"));
    await store.lease(attemptOf(task), WORKER_B, T0, T0 + 1_000);
    expect((await store.listRunning(WORKER_B)).map((running) => running.id.task)).toEqual(["b"]);
    expect(await store.listRunning()).toHaveLength(2);
  });

  test("lists leases that have ended, and leaves them", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [id, leaseMs] of [
      ["a", 10],
      ["b", 20],
      ["c", 30],
    ] as const) {
      await store.lease(attemptOf(await create(store, taskSpec(id))), WORKER_A, T0, T0 + leaseMs);
    }
    expect(await store.listExpired(T0 + 10, 10)).toEqual([]);
    expect((await store.listExpired(T0 + 25, 10)).map((running) => running.id.task)).toEqual(["a", "b"]);
    expect((await store.listExpired(T0 + 99, 1)).map((running) => running.id.task)).toEqual(["a"]);
    expect(await store.listRunning()).toHaveLength(3);
  });

  test("counts what is durable of an attempt's log from where that begins, not of the attempts before it", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("first"));
    expect(await store.listRunning()).toMatchObject([{ outputBytes: 5 }]);
    await store.settle(attempt, LOST, { now: T0, backoffJitter: 0 });
    const second = { ...attempt, attempt: 2 };
    await store.lease(second, WORKER_A, T0, T0 + 10);
    await store.appendOutput(second, 0, "stderr", bytesOf("two"));
    expect(await store.listRunning(WORKER_A)).toMatchObject([{ id: second, outputBytes: 3 }]);
    expect(await store.listExpired(T0 + 99, 10)).toMatchObject([{ id: second, outputBytes: 3 }]);
  });

  test("gives every attempt under way a new lease", async () => {
    await using harness = await open();
    const { store } = harness;
    await createRunning(store, taskSpec("a"));
    await createRunning(store, taskSpec("b"));
    await harness.reopen?.();
    await harness.store.extendAllLeases(T0 + 500_000);
    expect((await harness.store.listRunning()).map((running) => running.leaseUntil)).toEqual([
      T0 + 500_000,
      T0 + 500_000,
    ]);
  });
}
