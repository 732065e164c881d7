/** Leases that lapse, and clocks that are wrong: the watch alone, on a store that has nothing but leases. */
import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import { EXPIRE_BATCH, LEASE_CHECK_EVERY_MS, LEASE_CHECK_OFF_MS_MAX, LEASE_MS } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import type { LossCause } from "../../src/gateway/attempt-ends.ts";
import { LeaseClock } from "../../src/gateway/lease-clock.ts";
import { leaseTerms } from "../../src/gateway/lease-terms.ts";
import { Leases } from "../../src/gateway/leases.ts";
import type { RunningAttempt } from "../../src/store/store.ts";
import { T0, WORKER_A, taskId } from "../store/store-samples.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";

test("a lease lasts as long as it was given for, and no check longer", async () => {
  await using setup = await Setup.open();
  setup.lease(1);
  await setup.pass(LEASE_MS);
  expect(setup.givenUp).toEqual([]);
  await setup.pass(LEASE_CHECK_EVERY_MS);
  expect(setup.givenUp).toEqual([[1, "silence"]]);
});

test("an attempt that is being given up is not given up a second time, and holds up none of a whole batch behind it", async () => {
  await using setup = await Setup.open();
  setup.giveUp = () => setup.never;
  for (let run = 1; run <= EXPIRE_BATCH + 1; run++) setup.lease(run);
  await setup.pass(LEASE_MS + 4 * LEASE_CHECK_EVERY_MS);
  expect(new Set(setup.givenUp.map(([run]) => run)).size).toBe(EXPIRE_BATCH + 1);
  expect(setup.givenUp).toHaveLength(EXPIRE_BATCH + 1);
});

test("an attempt that was renewed while it was given up, and so was kept, may lapse again", async () => {
  await using setup = await Setup.open();
  setup.giveUp = async (run) => setup.lease(run);
  setup.lease(1);
  await setup.pass(2 * LEASE_MS + 4 * LEASE_CHECK_EVERY_MS);
  expect(setup.givenUp.map(([run]) => run)).toEqual([1, 1]);
});

test("a gateway that cannot extend the leases it finds lets none lapse before it has", async () => {
  await using setup = new Setup();
  setup.hasLapsed(1);
  setup.isBroken = true;
  await setup.leases.start();
  await setup.pass(5 * LEASE_CHECK_EVERY_MS);
  setup.isBroken = false;
  await setup.pass(LEASE_MS);
  expect(setup.givenUp).toEqual([]);
  await setup.pass(2 * LEASE_CHECK_EVERY_MS);
  expect(setup.givenUp).toEqual([[1, "gateway"]]);
});

test.each([-10 * LEASE_MS, 10 * LEASE_MS])(
  "a lease given while the clock was %i ms off is given anew, by the right time, as soon as leases are checked",
  async (offMs) => {
    await using setup = await Setup.open();
    await setup.pass(LEASE_CHECK_EVERY_MS);
    setup.clock.jump(offMs);
    setup.lease(1);
    setup.clock.jump(-offMs);
    await setup.pass(LEASE_CHECK_EVERY_MS);
    expect(setup.lapsesInMs(1)).toBe(LEASE_MS);
    await setup.pass(LEASE_MS + LEASE_CHECK_EVERY_MS);
    expect(setup.givenUp).toEqual([[1, "gateway"]]);
  },
);

test("a lease given by a wrong clock while others are extended is given anew after that", async () => {
  await using setup = await Setup.open();
  await setup.pass(LEASE_CHECK_EVERY_MS);
  setup.clock.jump(10 * LEASE_MS);
  const extended = Promise.withResolvers<void>();
  setup.extending = extended.promise;
  await setup.pass(LEASE_CHECK_EVERY_MS);
  setup.clock.jump(-2 * LEASE_MS);
  setup.lease(1);
  setup.clock.jump(2 * LEASE_MS);
  extended.resolve();
  await settlePromises();
  await setup.pass(LEASE_CHECK_EVERY_MS);
  expect(setup.lapsesInMs(1)).toBe(LEASE_MS);
});

test("a clock that is corrected by a little, and a check that is a little late, change no lease", async () => {
  await using setup = await Setup.open();
  setup.lease(1);
  setup.clock.jump(LEASE_CHECK_OFF_MS_MAX / 2);
  await setup.pass(LEASE_CHECK_EVERY_MS);
  setup.clock.jump(-LEASE_CHECK_OFF_MS_MAX / 2);
  await setup.pass(LEASE_CHECK_EVERY_MS);
  setup.clock.stall(LEASE_CHECK_OFF_MS_MAX / 2);
  await setup.pass(LEASE_CHECK_EVERY_MS);
  expect(setup.extensions).toBe(1);
});

test.each([-LEASE_MS, LEASE_MS])(
  "what began before the clock was set by %i ms counts against nobody, and what began after that does",
  async (jumpMs) => {
    await using setup = await Setup.open();
    setup.lease(1);
    await setup.pass(LEASE_CHECK_EVERY_MS);
    setup.clock.jump(jumpMs);
    await setup.pass(LEASE_CHECK_EVERY_MS);
    expect(setup.lapsesInMs(1)).toBe(LEASE_MS);
    setup.lease(2);
    await setup.pass(LEASE_MS + 2 * LEASE_CHECK_EVERY_MS);
    expect(setup.givenUp).toEqual([
      [1, "gateway"],
      [2, "silence"],
    ]);
  },
);

test("one that is closed while it asks the store gives nothing up, and asks no more", async () => {
  await using setup = await Setup.open();
  setup.lease(1);
  await setup.pass(LEASE_MS);
  const listed = Promise.withResolvers<void>();
  setup.listing = listed.promise;
  await setup.pass(LEASE_CHECK_EVERY_MS);
  setup.leases.close();
  listed.resolve();
  await settlePromises();
  expect(setup.givenUp).toEqual([]);
  expect(setup.clock.pendingTimers).toBe(0);
});

class Setup implements AsyncDisposable {
  readonly clock = new ManualClock({ now: T0 });
  readonly never = new Promise<void>(() => {});
  /** Runs that were given up, in order, and why. */
  readonly givenUp: (readonly [run: number, cause: LossCause])[] = [];
  giveUp: (run: number) => Promise<void> = async (run) => void this.#leases.delete(run);
  extensions = 0;
  isBroken = false;
  extending = Promise.resolve();
  listing = Promise.resolve();
  /** When the lease of each run ends, and when its attempt began by the monotonic clock. */
  readonly #leases = new Map<number, { endsAt: number; readonly beganMs: number }>();
  readonly #leaseClock = new LeaseClock(this.clock, leaseTerms());
  readonly leases = new Leases({
    store: {
      extendAllLeases: async (endsAt) => {
        if (this.isBroken) throw failed("the disk does not answer");
        this.extensions += 1;
        for (const lease of this.#leases.values()) lease.endsAt = endsAt;
        await this.extending;
      },
      listExpired: async (now, limit) => {
        await this.listing;
        return this.#running.filter(({ leaseUntil }) => leaseUntil < now).slice(0, limit);
      },
    },
    attempts: {
      giveUp: ({ id }, _reason, cause) => {
        this.givenUp.push([id.run, cause]);
        return this.giveUp(id.run);
      },
      hasBegunBefore: ({ run }, momentMs) => (this.#leases.get(run)?.beganMs ?? -Infinity) < momentMs,
    },
    leaseClock: this.#leaseClock,
    clock: this.clock,
    log: silentLog,
  });

  static async open(): Promise<Setup> {
    const setup = new Setup();
    await setup.leases.start();
    return setup;
  }

  /** An attempt of this run is begun, or renewed, now. */
  lease(run: number): void {
    const beganMs = this.#leases.get(run)?.beganMs ?? this.clock.monotonicMs();
    this.#leases.set(run, { endsAt: this.#leaseClock.leaseEnd(), beganMs });
  }

  /** An attempt of this run was left by an earlier gateway, long ago. */
  hasLapsed(run: number): void {
    this.#leases.set(run, { endsAt: this.clock.now() - LEASE_MS, beganMs: -Infinity });
  }

  lapsesInMs(run: number): number {
    return (this.#leases.get(run)?.endsAt ?? -Infinity) - this.clock.now();
  }

  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= LEASE_CHECK_EVERY_MS) {
      this.clock.advance(Math.min(LEASE_CHECK_EVERY_MS, left));
      await settlePromises();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leases.close();
    await settlePromises();
    expect(this.clock.pendingTimers).toBe(0);
  }

  get #running(): readonly RunningAttempt[] {
    return [...this.#leases].map(([run, { endsAt }]) => ({
      id: { task: taskId("t"), serial: 1, run, attempt: 1 },
      worker: WORKER_A,
      leaseUntil: endsAt,
      startedAt: 0,
      outputBytes: 0,
      outputBytesMax: 0,
      timeoutMs: 0,
    }));
  }
}
