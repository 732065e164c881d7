import { describe, expect, test } from "vitest";
import {
  RETAIN_BATCH,
  RETAIN_BATCH_PAUSE_MS,
  RETAIN_CLOCK_MARK_EVERY_MS,
  RETAIN_CLOCK_OFF_MS_MAX,
  RETAIN_CLOCK_TRUST_MS,
  RETAIN_SWEEP_EVERY_MS_MAX,
  RETAIN_SWEEP_EVERY_MS_MIN,
} from "../../src/base/limits.ts";
import type { Digest } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { EventHub } from "../../src/gateway/events.ts";
import { Retention } from "../../src/gateway/retention.ts";
import type { FinishedPosition, ForgetResult, ForgetRunsResult } from "../../src/store/store.ts";
import { INSPECTION, T0, digest, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";

const DAY_MS = 86_400_000;

test("forgets in batches what is older than it may be, with pauses, and tells of it", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.finished.push(...Array.from({ length: RETAIN_BATCH + 1 }, () => T0 - DAY_MS), T0);
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toHaveLength(2);
  await setup.pass(RETAIN_BATCH_PAUSE_MS);
  expect(setup.finished).toEqual([T0]);
  expect(setup.deleted).toBe(RETAIN_BATCH + 1);
  expect(setup.retired).toEqual([digest(), digest()]);
});

test("forgets old runs of tasks without end, in batches as well", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.runs.push(...Array.from({ length: RETAIN_BATCH + 1 }, () => T0 - DAY_MS), T0);
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.runs.filter((at) => at < Infinity)).toHaveLength(2);
  await setup.pass(RETAIN_BATCH_PAUSE_MS);
  expect(setup.runs.filter((at) => at < Infinity)).toEqual([T0]);
  expect(setup.retired).toEqual([digest("c"), digest("c")]);
});

test("a clock that is set in the middle of a sweep ends all of it", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.clock.jump(365 * DAY_MS);
  await setup.pass(RETAIN_CLOCK_TRUST_MS);
  setup.finished.push(...Array.from({ length: RETAIN_BATCH + 1 }, () => T0));
  setup.runs.push(T0);
  setup.onForget = () => setup.clock.jump(-365 * DAY_MS);
  await setup.pass(2 * RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toHaveLength(1);
  expect(setup.runs).toEqual([T0]);
});

test("keeps everything when that is wanted", async () => {
  await using setup = new Setup({ retainMs: undefined });
  setup.finished.push(0);
  setup.runs.push(0);
  await setup.pass(10 * RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([0]);
  expect(setup.runs).toEqual([0]);
});

test("goes on after the store has failed", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.finished.push(0);
  setup.isBroken = true;
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  setup.isBroken = false;
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([]);
});

test.each([10 * DAY_MS, -10 * DAY_MS])(
  "a clock that is set by %i ms makes it forget nothing for a while",
  async (jumpMs) => {
    await using setup = new Setup({ retainMs: DAY_MS });
    setup.finished.push(T0 - 30 * DAY_MS);
    setup.clock.jump(jumpMs);
    await setup.pass(RETAIN_CLOCK_TRUST_MS);
    expect(setup.finished).toHaveLength(1);
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    expect(setup.finished).toEqual([]);
  },
);

test("what has ended since the start is forgotten at its age, in the first hour too, and nothing from before", async () => {
  await using setup = new Setup({ retainMs: 600_000, clockTrustedAfterMs: undefined });
  setup.finished.push(T0 - DAY_MS, T0 - 1, T0);
  setup.runs.push(T0 - 1, T0);
  await setup.pass(600_000);
  expect(setup.finished).toHaveLength(3);
  setup.finished.push(setup.clock.now());
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([T0 - DAY_MS, T0 - 1, T0 + 600_000]);
  expect(setup.runs).toEqual([T0 - 1, Infinity]);
  await setup.pass(600_000);
  expect(setup.finished).toEqual([T0 - DAY_MS, T0 - 1]);
  await setup.pass(RETAIN_CLOCK_TRUST_MS);
  expect(setup.finished).toEqual([]);
});

test.each([10 * DAY_MS, -10 * DAY_MS])(
  "once its clock was set by %i ms, it forgets at its age what has ended since",
  async (jumpMs) => {
    await using setup = new Setup({ retainMs: 600_000, clockTrustedAfterMs: undefined });
    await setup.pass(1_000);
    setup.finished.push(setup.clock.now());
    setup.clock.jump(jumpMs);
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    setup.finished.push(setup.clock.now());
    setup.finished.sort((a, b) => a - b);
    await setup.pass(600_000);
    expect(setup.finished).toHaveLength(2);
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    expect(setup.finished).toEqual([T0 + 1_000]);
  },
);

test("a clock that goes fast makes nothing old sooner that has ended since the start", async () => {
  await using setup = new Setup({ retainMs: 600_000, clockTrustedAfterMs: undefined });
  setup.finished.push(T0);
  for (let minute = 1; minute <= 10; minute += 1) {
    setup.clock.jump(RETAIN_CLOCK_OFF_MS_MAX / 2);
    await setup.pass(60_000);
  }
  expect(setup.finished).toEqual([T0]);
  await setup.pass(60_000);
  expect(setup.finished).toEqual([]);
});

test.each([
  { retainMs: 10_000, everyMs: 10_000 },
  { retainMs: 1, everyMs: RETAIN_SWEEP_EVERY_MS_MIN },
  { retainMs: DAY_MS, everyMs: RETAIN_SWEEP_EVERY_MS_MAX },
])("what is kept for $retainMs ms is looked at every $everyMs ms", async ({ retainMs, everyMs }) => {
  await using setup = new Setup({ retainMs });
  setup.finished.push(0);
  await setup.pass(everyMs - 1);
  expect(setup.finished).toHaveLength(1);
  await setup.pass(1);
  expect(setup.finished).toEqual([]);
});

test("a clock that is wrong at the start and set right within the hour makes it forget nothing", async () => {
  await using setup = new Setup({ retainMs: DAY_MS, clockTrustedAfterMs: undefined });
  setup.finished.push(T0 - 30 * DAY_MS, T0 - 2 * DAY_MS);
  await setup.pass(RETAIN_CLOCK_TRUST_MS - RETAIN_SWEEP_EVERY_MS_MAX);
  // It was a week ahead.
  setup.clock.jump(-7 * DAY_MS);
  await setup.pass(RETAIN_CLOCK_TRUST_MS);
  expect(setup.finished).toHaveLength(2);
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([T0 - 2 * DAY_MS]);
});

test("a clock that is put forward between two batches makes it forget no more", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.finished.push(...Array.from({ length: RETAIN_BATCH }, () => T0 - DAY_MS), T0, T0 + 1);
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  setup.clock.jump(30 * DAY_MS);
  await setup.pass(RETAIN_BATCH_PAUSE_MS);
  expect(setup.finished).toEqual([T0, T0 + 1]);
  await setup.pass(RETAIN_CLOCK_TRUST_MS - RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([T0, T0 + 1]);
});

test("a clock that is corrected by a little is believed", async () => {
  await using setup = new Setup({ retainMs: DAY_MS });
  setup.finished.push(0);
  setup.clock.jump(RETAIN_CLOCK_OFF_MS_MAX / 2);
  await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(setup.finished).toEqual([]);
});

test("gateways that are started again every 50 minutes forget all in its time", async () => {
  const retainMs = 600_000;
  const lifeMs = 3_000_000;
  const downMs = 20_000;
  const disk: Disk = { finished: [], mark: undefined };
  let now = T0;
  for (let life = 1; life <= 4; life += 1) {
    await using setup = new Setup({ retainMs, clockTrustedAfterMs: undefined, now, disk });
    for (let passed = 0; passed < lifeMs; passed += 60_000) {
      disk.finished.push(setup.clock.now());
      await setup.pass(60_000);
      const oldest = setup.clock.now() - (disk.finished[0] ?? Infinity);
      // At the end of the one before nothing may have been said of its clock for a while.
      expect(oldest).toBeLessThanOrEqual(
        retainMs + 2 * RETAIN_SWEEP_EVERY_MS_MAX + (life > 1 ? RETAIN_CLOCK_MARK_EVERY_MS + downMs : 0),
      );
    }
    now = setup.clock.now() + downMs;
  }
});

describe("gateways that live for half an hour a day", () => {
  const HALF_HOUR_MS = 1_800_000;
  const YEAR_MS = 365 * DAY_MS;
  const old = T0 - 30 * DAY_MS;

  /** One life of half an hour, or so long; what it has left of what had finished. */
  async function live(disk: Disk, now: number, ms = HALF_HOUR_MS): Promise<readonly number[]> {
    await using setup = new Setup({ retainMs: 2 * DAY_MS, clockTrustedAfterMs: undefined, now, disk });
    await setup.pass(ms);
    return setup.finished;
  }

  test("forget what was old enough when the one before lived, the first one nothing", async () => {
    const late = T0 - DAY_MS / 2;
    const disk: Disk = { finished: [old, late], mark: undefined };
    expect(await live(disk, T0)).toEqual([old, late]);
    expect(await live(disk, T0 + DAY_MS)).toEqual([late]);
    // Old enough for this one, and not for the one before.
    expect(await live(disk, T0 + 1.6 * DAY_MS)).toEqual([late]);
    expect(await live(disk, T0 + 3 * DAY_MS)).toEqual([]);
  });

  test("forget nothing too early where the clock of one is ahead, nor do the next ones", async () => {
    const disk: Disk = { finished: [old, T0 - DAY_MS], mark: undefined };
    await live(disk, T0);
    expect(await live(disk, T0 + YEAR_MS)).toEqual([T0 - DAY_MS]);
    expect(disk.mark).toBeGreaterThan(T0 + YEAR_MS);
    disk.finished.push(T0 + 1);
    // What it finds is ahead, and it says so; its own clock is right.
    expect(await live(disk, T0 + 1.5 * DAY_MS, RETAIN_SWEEP_EVERY_MS_MAX)).toEqual([T0 + 1]);
    expect(disk.mark).toBe(T0 + 1.5 * DAY_MS + RETAIN_SWEEP_EVERY_MS_MAX);
    expect(await live(disk, T0 + YEAR_MS)).toEqual([T0 + 1]);
  });

  test("forget nothing too early where the first of all has its clock ahead", async () => {
    const disk: Disk = { finished: [T0 - DAY_MS], mark: undefined };
    expect(await live(disk, T0 + YEAR_MS)).toEqual([T0 - DAY_MS]);
    expect(await live(disk, T0)).toEqual([T0 - DAY_MS]);
  });

  test("forget nothing by a clock that is put forward meanwhile, though the mark they have found is ahead too", async () => {
    const disk: Disk = { finished: [T0 - DAY_MS], mark: T0 + YEAR_MS };
    await using setup = new Setup({ retainMs: 2 * DAY_MS, clockTrustedAfterMs: undefined, disk });
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    setup.clock.jump(YEAR_MS);
    await setup.pass(HALF_HOUR_MS);
    expect(setup.finished).toEqual([T0 - DAY_MS]);
  });

  test("leave no mark of a clock that has not run well for a while, such as in a quick succession of starts", async () => {
    const disk: Disk = { finished: [T0 - DAY_MS], mark: T0 };
    for (let start = 0; start < 5; start += 1) {
      expect(await live(disk, T0 + YEAR_MS, RETAIN_CLOCK_MARK_EVERY_MS - RETAIN_SWEEP_EVERY_MS_MAX)).toHaveLength(1);
    }
    expect(disk.mark).toBe(T0);
    await using setup = new Setup({ retainMs: 2 * DAY_MS, disk });
    await setup.pass(RETAIN_CLOCK_MARK_EVERY_MS - RETAIN_SWEEP_EVERY_MS_MAX);
    setup.clock.jump(YEAR_MS);
    await setup.pass(RETAIN_CLOCK_MARK_EVERY_MS);
    expect(disk.mark).toBe(T0);
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    expect(disk.mark).toBeGreaterThan(T0 + YEAR_MS);
    setup.clock.jump(-YEAR_MS);
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    expect(disk.mark).toBeLessThan(T0 + DAY_MS);
  });

  test("forget all the same while the mark cannot be stored", async () => {
    const disk: Disk = { finished: [old], mark: T0 + YEAR_MS };
    await using setup = new Setup({ retainMs: 2 * DAY_MS, clockTrustedAfterMs: undefined, disk });
    Object.defineProperty(disk, "mark", {
      get: () => T0 + YEAR_MS,
      set: () => {
        throw new Error("the disk is full");
      },
    });
    await setup.pass(RETAIN_SWEEP_EVERY_MS_MAX);
    expect(setup.finished).toEqual([]);
  });
});

test("a gateway forgets in its first hour what was old enough for the one before", async () => {
  await using cluster = await GatewayCluster.open({ retainMs: DAY_MS });
  const worker = await cluster.join();
  await cluster.submit("t");
  (await worker.take()).end();
  await cluster.hasRunState("t", "succeeded");
  const live = async () => {
    await cluster.pass(2 * RETAIN_CLOCK_MARK_EVERY_MS, RETAIN_SWEEP_EVERY_MS_MAX);
    await cluster.stop();
    cluster.clock.jump(2 * DAY_MS);
    await cluster.start();
  };
  await live();
  await live();
  expect((await cluster.task("t")).state).toBe("succeeded");
  await cluster.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  await cluster.until("it is forgotten", async () => (await cluster.store.getTask(taskId("t"))) === undefined);
});

test("a gateway lets a module go that nobody has named for long, and not one that a submission is about to use", async () => {
  await using cluster = await GatewayCluster.open({ retainModulesMs: 2 * RETAIN_SWEEP_EVERY_MS_MAX });
  const old = await heldModule(cluster, 1);
  const pinned = await heldModule(cluster, 2);
  const used = await heldModule(cluster, 3);
  await cluster.submit("user", { module: used, firstDueAt: cluster.clock.now() + 100 * DAY_MS });
  await cluster.pass(RETAIN_SWEEP_EVERY_MS_MAX);
  expect(await isThere(cluster, old)).toBe(true);
  const pin = await cluster.gateway.pins.pin(pinned);
  await cluster.pass(2 * RETAIN_SWEEP_EVERY_MS_MAX);
  await cluster.until("it is gone", async () => !(await isThere(cluster, old)));
  // What has pinned it first looks whether it is there, and commits its task before it lets go.
  expect(await isThere(cluster, pinned)).toBe(true);
  await cluster.submit("late", { module: pinned, firstDueAt: cluster.clock.now() + 100 * DAY_MS });
  pin[Symbol.dispose]();
  await cluster.gateway.pins.sweep();
  expect(await isThere(cluster, pinned)).toBe(true);
  expect(await isThere(cluster, used)).toBe(true);
});

async function isThere(cluster: GatewayCluster, module: Digest): Promise<boolean> {
  await using blob = await cluster.blobs.open(module);
  return blob !== undefined;
}

async function heldModule(cluster: GatewayCluster, byte: number): Promise<Digest> {
  await using writer = await cluster.blobs.create();
  await writer.write(new Uint8Array([byte]));
  const { digest: module } = await writer.finish();
  await writer.commit();
  await cluster.store.holdModule(module, INSPECTION, cluster.clock.now());
  return module;
}

test("a gateway forgets a finished task, and the bytes of its module", async () => {
  await using cluster = await GatewayCluster.open({ retainMs: 120_000 });
  await using writer = await cluster.blobs.create();
  await writer.write(new Uint8Array([1, 2, 3]));
  const { digest: module } = await writer.finish();
  await writer.commit();
  const worker = await cluster.join();
  await cluster.submit("t", { module });
  (await worker.take()).end();
  await cluster.hasRunState("t", "succeeded");
  await cluster.pass(60_000);
  expect((await cluster.task("t")).state).toBe("succeeded");
  await cluster.pass(120_000);
  await cluster.until("it is forgotten", async () => (await cluster.store.getTask(taskId("t"))) === undefined);
  await cluster.until("its module's bytes are gone", async () => !(await isThere(cluster, module)));
});

test("a gateway forgets the old runs of a task that has no end, and goes on with it", async () => {
  await using cluster = await GatewayCluster.open({ retainMs: 120_000 });
  const worker = await cluster.join();
  await cluster.submit("t", { cron: "* * * * *", repeats: 0 });
  for (let run = 1; run <= 5; run++) {
    await cluster.pass(60_000, 5_000);
    (await worker.take()).end();
    await cluster.until("it has ended", async () => (await cluster.task("t")).counts.succeeded === run);
  }
  await cluster.until("the first is forgotten", async () => (await cluster.task("t")).firstRun > 1);
  expect(await cluster.store.getRun(taskId("t"), 1)).toBeUndefined();
  expect(await cluster.store.getRun(taskId("t"), 5)).toMatchObject({ state: "succeeded" });
});

/** What outlives a gateway: the times at which tasks finished, and the mark. */
interface Disk {
  finished: number[];
  mark: number | undefined;
}

/** A life of a gateway whose store has no more than that. */
class Setup implements AsyncDisposable {
  readonly clock: ManualClock;
  readonly disk: Disk;
  readonly retired: string[] = [];
  deleted = 0;
  /** When the runs of tasks without end were over, by the serial of their task, which is their place here plus one. */
  readonly runs: number[] = [];
  isBroken = false;
  onForget: () => void = () => {};
  readonly #retention: Retention;

  constructor({
    now = T0,
    disk = { finished: [], mark: undefined },
    ...init
  }: {
    readonly retainMs: number | undefined;
    readonly clockTrustedAfterMs?: number | undefined;
    /** What its clock says at the start. */
    readonly now?: number;
    readonly disk?: Disk;
  }) {
    this.clock = new ManualClock({ now });
    this.disk = disk;
    const events = new EventHub();
    events.subscribe((event) => {
      if (event.type === "task" && event.state === "deleted") this.deleted++;
    });
    this.#retention = new Retention({
      clockTrustedAfterMs: 0,
      ...init,
      retainModulesMs: undefined,
      store: {
        forgetFinished: (...args) => this.#forget(...args),
        forgetRuns: async (...args) => this.#forgetRuns(...args),
        getClockMark: async () => this.disk.mark,
        setClockMark: async (at) => {
          if (this.isBroken) throw new Error("the disk is full");
          this.disk.mark = at;
        },
        releaseModules: async () => ({ released: [], isThrough: true }),
      },
      pins: { retireFreed: async ({ digests }) => void this.retired.push(...digests) },
      events,
      clock: this.clock,
      log: silentLog,
    });
    this.#retention.start();
  }

  get finished(): number[] {
    return this.disk.finished;
  }

  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms;) {
      const stepMs = Math.min(ms - passed, this.clock.nextTimerInMs ?? ms);
      this.clock.advance(stepMs);
      await settlePromises();
      passed += stepMs;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#retention.close();
    expect(this.clock.pendingTimers).toBe(0);
  }

  #forgetRuns(endedBefore: number, limit: number, after: number, endedFrom = -Infinity): ForgetRunsResult {
    const looked = this.runs.slice(after, after + limit);
    const isOld = (at: number) => endedFrom <= at && at < endedBefore;
    const old = looked.filter(isOld);
    for (const [index, at] of looked.entries()) if (isOld(at)) this.runs[after + index] = Infinity;
    return {
      forgotten: old.length,
      freed: { digests: old.length > 0 ? [digest("c")] : [], hasMore: false },
      next: looked.length < limit ? undefined : after + limit,
    };
  }

  async #forget(endedBefore: number, limit: number, after?: FinishedPosition): Promise<ForgetResult> {
    if (this.isBroken) throw new Error("the disk is full");
    this.onForget();
    const behind = this.finished.filter((at) => at >= (after?.finishedAt ?? 0));
    const old = behind.filter((at) => at < endedBefore).slice(0, limit);
    this.finished.splice(this.finished.indexOf(old[0] ?? NaN), old.length);
    const last = old.at(-1);
    return {
      forgotten: old.map((_, index) => taskId(`t${index}`)),
      freed: { digests: old.length > 0 ? [digest()] : [], hasMore: false },
      next: old.length < limit || last === undefined ? undefined : { finishedAt: last, serial: 1 },
    };
  }
}
