import { describe, expect, test } from "vitest";
import { MemoryDisk, MemoryStore } from "../support/memory-store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { storeContract } from "./store-contract.ts";
import type { StoreHarness } from "./store-harness.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, bytesOf, createRunning, taskId, taskSpec } from "./store-samples.ts";

class MemoryHarness implements StoreHarness {
  #store = new MemoryStore();

  get store(): MemoryStore {
    return this.#store;
  }

  readonly reopen = async (): Promise<void> => {
    await this.#store.close();
    this.#store = new MemoryStore({ disk: this.#store.disk });
  };

  [Symbol.asyncDispose](): Promise<void> {
    return this.#store.close();
  }
}

storeContract("MemoryStore", () => Promise.resolve(new MemoryHarness()));

/** Writes take 10 ms of the clock, reads 1. */
function timedStore(): { readonly store: MemoryStore; readonly clock: ManualClock; readonly disk: MemoryDisk } {
  const clock = new ManualClock();
  const disk = new MemoryDisk();
  const latency = { clock, nextMs: (isWriting: boolean) => (isWriting ? 10 : 1) };
  return { store: new MemoryStore({ disk, latency }), clock, disk };
}

function tasksOn(disk: MemoryDisk): readonly string[] {
  return [...disk.state.tasks.keys()];
}

describe("MemoryStore", () => {
  test("answers when its commit has taken its time, and not before", async () => {
    const { store, clock, disk } = timedStore();
    const answered: string[] = [];
    void store.createTask(taskSpec("a"), INSPECTION, T0).then(() => answered.push("a"));
    await clock.run(9);
    expect([answered, tasksOn(disk), store.pending]).toEqual([[], [], 1]);
    await clock.run(1);
    expect([answered, tasksOn(disk), store.pending]).toEqual([["a"], ["a"], 0]);
    await Promise.all([store.close(), clock.run(20)]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("carries out what comes meanwhile in the next group", async () => {
    const { store, clock, disk } = timedStore();
    void store.createTask(taskSpec("a"), INSPECTION, T0);
    await clock.run(5);
    void store.createTask(taskSpec("b"), INSPECTION, T0);
    const found = store.getTask(taskId("b"));
    await clock.run(5);
    expect(tasksOn(disk)).toEqual(["a"]);
    await clock.run(10);
    expect((await found)?.spec.id).toBe("b");
  });

  test.each([
    [0, []],
    [0.3, ["a"]],
    [0.5, ["a", "b"]],
    [0.99, ["a", "b", "c"]],
  ])(
    "keeps the first of the transactions under way in a crash, as many as are asked for: %d",
    async (durable, kept) => {
      const { store, clock, disk } = timedStore();
      const answers = ["a", "b", "c"].map((id) => store.createTask(taskSpec(id), INSPECTION, T0));
      await clock.run(5);
      answers.push(store.createTask(taskSpec("waits"), INSPECTION, T0));
      const answered: unknown[] = [];
      for (const answer of answers) void answer.then((result) => answered.push(result));
      store.crash(durable);
      void store.getTask(taskId("a")).then((result) => answered.push(result));
      await clock.run(100);
      expect([tasksOn(disk), answered, clock.pendingTimers]).toEqual([kept, [], 0]);
      await using next = new MemoryStore({ disk });
      expect((await next.measureQueue()).tasks).toBe(kept.length);
    },
  );

  test("loses nothing that was acknowledged in a crash", async () => {
    const { store, clock, disk } = timedStore();
    const running = createRunning(store, taskSpec("a"));
    await clock.run(100);
    const { attempt } = await running;
    const appended = store.appendOutput(attempt, 0, "stdout", bytesOf("kept"));
    await clock.run(10);
    await appended;
    void store.appendOutput(attempt, 4, "stdout", bytesOf(" and lost"));
    void store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    await clock.run(5);
    store.crash(0);
    await using next = new MemoryStore({ disk });
    expect(await next.listRunning()).toMatchObject([{ id: attempt, worker: WORKER_A, outputBytes: 4 }]);
    await next.appendOutput(attempt, 4, "stdout", bytesOf("!"));
    const page = await next.readOutput(attempt.task, 1, { offset: 0, bytesMax: 100 });
    expect(Buffer.concat(page?.chunks.map((chunk) => chunk.bytes) ?? []).toString()).toBe("kept!");
  });

  test("refuses what waits, and all that comes, when only the store dies", async () => {
    const { store, clock } = timedStore();
    const waiting = [store.createTask(taskSpec("a"), INSPECTION, T0), store.getTask(taskId("a"))];
    const refused = Promise.allSettled(waiting);
    await clock.run(5);
    store.breakDown(0);
    const results = [...(await refused), ...(await Promise.allSettled([store.measureQueue()]))];
    expect(results).toMatchObject(
      Array.from({ length: 3 }, () => ({ status: "rejected", reason: { code: "store-unavailable" } })),
    );
    await store.close();
  });

  test("reads on when it is full, and writes again when it is not", async () => {
    await using store = new MemoryStore();
    await store.createTask(taskSpec("a"), INSPECTION, T0);
    store.trouble = "full";
    await expect(store.cancelTask(taskId("a"), "why", T0)).rejects.toMatchObject({ code: "store-unavailable" });
    expect(await store.getTask(taskId("a"))).toMatchObject({ state: "ready" });
    store.trouble = undefined;
    expect(await store.cancelTask(taskId("a"), "why", T0)).toMatchObject({ kind: "cancelled" });
  });

  test("tells everybody to come back when it is busy", async () => {
    await using store = new MemoryStore();
    store.trouble = "busy";
    await expect(store.measureQueue()).rejects.toMatchObject({ type: "overloaded", code: "store-busy" });
  });
});
