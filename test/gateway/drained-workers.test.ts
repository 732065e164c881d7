import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import type { PeerId } from "../../src/base/ids.ts";
import { TAKE_BACK_RETRY_MS } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { DrainedWorkers } from "../../src/gateway/drained-workers.ts";
import { WORKER_A } from "../store/store-samples.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";

const GRACE_MS = 10_000;

class Setup {
  readonly clock = new ManualClock();
  /** What the store has. */
  readonly stored = new Set<PeerId>();
  /** How often something was to be taken back. */
  over = 0;
  onOver: () => Promise<void> = async () => {};
  isBroken = false;
  storing = Promise.resolve();
  readonly drained = new DrainedWorkers({
    store: {
      listDrained: async () => [...this.stored],
      setDrained: async (worker, isDrained) => {
        if (this.isBroken) throw failed("the disk does not answer");
        await this.storing;
        if (isDrained) this.stored.add(worker);
        else this.stored.delete(worker);
      },
    },
    clock: this.clock,
    log: silentLog,
    graceMs: GRACE_MS,
    onOver: () => {
      this.over += 1;
      return this.onOver();
    },
  });

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    await settlePromises();
  }
}

test("a worker is drained once that is durable, and so it is with the end of it", async () => {
  const setup = new Setup();
  const { drained, stored, clock } = setup;
  setup.isBroken = true;
  await expect(drained.add(WORKER_A, GRACE_MS)).rejects.toThrow("does not answer");
  expect(drained.has(WORKER_A)).toBe(false);
  setup.isBroken = false;
  await drained.add(WORKER_A, GRACE_MS);
  setup.isBroken = true;
  await expect(drained.remove(WORKER_A)).rejects.toThrow("does not answer");
  expect(drained.has(WORKER_A)).toBe(true);
  setup.isBroken = false;
  expect([await drained.remove(WORKER_A), await drained.remove(WORKER_A)]).toEqual([true, false]);
  expect([drained.has(WORKER_A), stored.size, clock.pendingTimers]).toEqual([false, 0, 0]);
});

test("one that is drained again gets the new grace, shorter or longer", async () => {
  const setup = new Setup();
  await setup.drained.add(WORKER_A, 1_000);
  await setup.drained.add(WORKER_A, 5_000);
  await setup.pass(4_999);
  expect(setup.over).toBe(0);
  await setup.drained.add(WORKER_A, 500);
  await setup.pass(500);
  expect(setup.over).toBe(1);
  expect(setup.drained.has(WORKER_A)).toBe(true);
});

test("one that an earlier gateway has drained gets the usual grace", async () => {
  const setup = new Setup();
  setup.stored.add(WORKER_A);
  await setup.drained.load();
  await setup.pass(GRACE_MS - 1);
  expect([setup.drained.has(WORKER_A), setup.over]).toEqual([true, 0]);
  await setup.pass(1);
  expect(setup.over).toBe(1);
});

test("taking back is tried again until it works, and not any more once the worker was admitted", async () => {
  const setup = new Setup();
  setup.onOver = () => Promise.reject(failed("the disk does not answer"));
  await setup.drained.add(WORKER_A, 1_000);
  await setup.pass(1_000);
  await setup.pass(TAKE_BACK_RETRY_MS);
  expect(setup.over).toBe(2);
  const { promise, reject } = Promise.withResolvers<void>();
  setup.onOver = () => promise;
  await setup.pass(TAKE_BACK_RETRY_MS);
  await setup.drained.remove(WORKER_A);
  reject(failed("the disk does not answer"));
  await setup.pass(10 * TAKE_BACK_RETRY_MS);
  expect([setup.over, setup.drained.has(WORKER_A), setup.clock.pendingTimers]).toEqual([3, false, 0]);
});

test("one that is closed while it drains a worker leaves no timer", async () => {
  const setup = new Setup();
  const { promise, resolve } = Promise.withResolvers<void>();
  setup.storing = promise;
  const adding = setup.drained.add(WORKER_A, 1_000);
  setup.drained.close();
  resolve();
  await adding;
  expect([[...setup.stored], setup.clock.pendingTimers]).toEqual([[WORKER_A], 0]);
});
