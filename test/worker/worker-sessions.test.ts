import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import {
  HELD_ATTEMPTS_MAX,
  LEASE_MS,
  LEASE_RENEW_EVERY_MS,
  OUTPUT_IN_MEMORY_BYTES_MAX,
} from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { attemptKey } from "../../src/model/run.ts";
import { RunnerPool } from "../../src/worker/runner/runner-pool.ts";
import { settle } from "../rpc/vats.ts";
import { attemptId, bytesOf, ModuleSource } from "./gateway-parts.ts";
import { exiting, printing } from "./runner/guest-modules.ts";
import { until, WorkerHarness } from "./worker-harness.ts";

const TIMEOUT_MS = 60_000;

describe("a worker that loses its session", { timeout: TIMEOUT_MS }, () => {
  test("lets the guest run on, and hands over output and outcome in the next, without a gap", async () => {
    await using harness = await WorkerHarness.open();
    const first = harness.connect();
    const id = attemptId(1);
    using attempt = await harness.begin({ id });
    const guest = await harness.guest(0);
    await guest.print("before, ");
    await until(() => attempt.log.length === 8);
    await settle();
    await first.cut();
    expect(guest.signal.aborted).toBe(false);
    const meanwhile = bytesOf(2 * OUTPUT_IN_MEMORY_BYTES_MAX);
    await guest.io.write("stderr", meanwhile);
    await guest.print("and between");
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(id), attempt.log]]));
    const second = harness.connect({ onResume });
    await until(() => second.resumed !== undefined);
    expect(second.resumed).toMatchObject([{ id, outputOffset: 8 }]);
    await guest.print(", after");
    guest.end();
    const outcome = await second.resumed?.[0]?.run.outcome();
    expect(outcome).toMatchObject({ outcome: { kind: "exited", code: 0 }, outputTruncated: false });
    expect(outcome?.outputBytes).toBe(attempt.log.length);
    const all = Buffer.concat([Buffer.from("before, "), meanwhile, Buffer.from("and between, after")]);
    expect(Buffer.concat(attempt.log.pieces.map(({ bytes }) => bytes)).equals(all)).toBe(true);
    await second.resumed?.[0]?.run.acknowledge();
    await harness.offersWaiting(2);
  });

  test("tells in the next what ended when there was none", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    const id = attemptId(1);
    using attempt = await harness.begin({ id });
    const guest = await harness.guest(0);
    await first.cut();
    await guest.print("all of it");
    guest.end({ kind: "exited", code: 4 });
    await settle();
    // Leases end, sessions come and go: an outcome waits.
    await harness.clock.run(2 * LEASE_MS);
    const lost = harness.connect({ onResume: () => new Promise(() => {}) });
    await until(() => lost.resumed !== undefined);
    await lost.cut();
    const second = harness.connect({ onResume: WorkerHarness.adopting(new Map([[attemptKey(id), attempt.log]])) });
    await until(() => second.resumed !== undefined);
    expect(await second.resumed?.[0]?.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 4 } });
    expect(attempt.log.text()).toBe("all of it");
    await second.resumed?.[0]?.run.acknowledge();
    const third = harness.connect();
    await until(() => third.resumed !== undefined);
    expect(third.resumed).toEqual([]);
  });

  test("stops what the next gateway does not adopt, and goes on with the rest", async () => {
    await using harness = await WorkerHarness.open({ slots: 3 });
    const first = harness.connect();
    using one = await harness.begin();
    using two = await harness.begin();
    using three = await harness.begin();
    const guests = await Promise.all([0, 1, 2].map((index) => harness.guest(index)));
    await first.cut();
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(attemptId(2)), two.log]]));
    const second = harness.connect({ onResume });
    await until(() => guests.filter(({ signal }) => signal.aborted).length === 2);
    expect(guests[1]?.signal.aborted).toBe(false);
    await harness.offersWaiting(2);
    guests[1]?.end();
    await second.resumed?.[1]?.run.outcome();
    await second.resumed?.[1]?.run.acknowledge();
    await harness.offersWaiting(3);
    expect(one.log.length + three.log.length).toBe(0);
  });

  test("stops its guests at the end of their leases, and offers their slots in the next session", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    const first = harness.connect();
    using _attempt = await harness.begin();
    const guest = await harness.guest(0);
    await first.cut();
    await harness.clock.run(LEASE_MS);
    expect(guest.signal.aborted).toBe(true);
    const second = harness.connect();
    await harness.offersWaiting(2);
    expect(second.resumed).toEqual([]);
  });

  test("has its lease renewed by an adoption", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    const first = harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await first.cut();
    await harness.clock.run(LEASE_MS * 0.8);
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(attemptId(1)), attempt.log]]));
    harness.connect({ onResume, onRenew: () => new Promise(() => {}) });
    await harness.offersWaiting(1);
    await harness.clock.run(LEASE_MS * 0.8);
    expect(guest.signal.aborted).toBe(false);
    await harness.clock.run(LEASE_MS * 0.2);
    expect(guest.signal.aborted).toBe(true);
  });

  test("is not wedged by a gateway that fails to resume", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await first.cut();
    const failing = harness.connect({
      onResume: async () => {
        throw failed("no");
      },
    });
    await expect(failing.served).rejects.toMatchObject({ type: "failed" });
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(attemptId(1)), attempt.log]]));
    const good = harness.connect({ onResume });
    await until(() => good.resumed !== undefined);
    guest.end();
    expect(await good.resumed?.[0]?.run.outcome()).toMatchObject({ outcome: { kind: "exited" } });
    await good.resumed?.[0]?.run.acknowledge();
    await harness.offersWaiting(1);
  });

  test("hands back an attempt whose module was being fetched", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    const stuck = new ModuleSource(bytesOf(2_000, 5), () => new Promise(() => {}));
    using worker = await harness.take();
    using attempt = harness.beginOn(worker, {}, undefined, stuck);
    await until(() => stuck.reads > 0);
    await first.cut();
    await settle();
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(attemptId(1)), attempt.log]]));
    const second = harness.connect({ onResume });
    await until(() => second.resumed !== undefined);
    await expect(second.resumed?.[0]?.run.outcome()).rejects.toMatchObject({ code: "handed-back" });
    await second.resumed?.[0]?.run.acknowledge();
    await harness.offersWaiting(1);
  });

  test("resumes as many attempts as it may hold, and offers no slot while it holds that many", async () => {
    await using harness = await WorkerHarness.open({ slots: 1, keepsOutcomes: false });
    const first = harness.connect();
    const attempts = new DisposableStack();
    for (let index = 0; index < HELD_ATTEMPTS_MAX; index++) {
      attempts.use(await harness.begin({ outputBytesMax: 1 }));
      (await harness.guest(index)).end();
    }
    await until(() => harness.server.state().busy === 0);
    await settle();
    expect(harness.channel.offers.waiting()).toHaveLength(0);
    attempts.dispose();
    await first.cut();
    const second = harness.connect();
    await harness.offersWaiting(1);
    expect(second.resumed).toHaveLength(HELD_ATTEMPTS_MAX);
  });
});

describe("a worker that drains", { timeout: TIMEOUT_MS }, () => {
  const graceful = () => new AbortController();

  test("withdraws its offers, says so, and waits for what it holds", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    const session = harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await harness.offersWaiting(1);
    let isDrained = false;
    const drained = harness.server
      .drain({ signal: graceful().signal, handBackMs: 1_500 })
      .then(() => (isDrained = true));
    await harness.offersWaiting(0);
    await until(() => session.isDraining);
    guest.end();
    expect(await attempt.run.outcome()).toMatchObject({ outcome: { kind: "exited" } });
    expect(isDrained).toBe(false);
    await attempt.run.acknowledge();
    await drained;
    await settle();
    expect(harness.channel.offers.waiting()).toHaveLength(0);
  });

  test("refuses a run that was under way to it, so that it is tried elsewhere", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    harness.connect();
    using worker = await harness.take();
    const drained = harness.server.drain({ signal: graceful().signal, handBackMs: 1_500 });
    using attempt = harness.beginOn(worker);
    await expect(attempt.run.outcome()).rejects.toMatchObject({ type: "overloaded" });
    await drained;
  });

  test("hands back what it could not finish within the grace, and is not counted as a loss", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    const grace = graceful();
    const drained = harness.server.drain({ signal: grace.signal, handBackMs: 1_500 });
    await settle();
    const outcome = attempt.run.outcome();
    grace.abort(new Error("the grace is over"));
    await expect(outcome).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    expect(guest.signal.aborted).toBe(true);
    await attempt.run.acknowledge();
    await drained;
  });

  test("waits for nobody longer than the grace and the time to hand back", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const session = harness.connect();
    using _attempt = await harness.begin();
    await harness.guest(0);
    await settle();
    session.gateway.abort(failed("gone"));
    await session.served;
    const grace = graceful();
    const drained = harness.server.drain({ signal: grace.signal, handBackMs: 1_500 });
    grace.abort(new Error("the grace is over"));
    await settle();
    await harness.clock.run(1_500);
    await drained;
  });

  test("is not held up by a gateway that does not answer, when it has nothing left to do", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const answer = Promise.withResolvers<void>();
    const session = harness.connect({ onDrain: () => answer.promise });
    await harness.offersWaiting(1);
    let isDrained = false;
    const drained = harness.server
      .drain({ signal: graceful().signal, handBackMs: 1_500 })
      .then(() => (isDrained = true));
    await until(() => session.isDraining);
    await harness.clock.run(1_499);
    expect(isDrained).toBe(false);
    await harness.clock.run(1);
    await drained;
    answer.resolve();
  });

  test("ends its guests when the grace says so, though the gateway has not answered yet", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const answer = Promise.withResolvers<void>();
    const session = harness.connect({ onDrain: () => answer.promise });
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    const grace = graceful();
    const drained = harness.server.drain({ signal: grace.signal, handBackMs: 125 });
    await until(() => session.isDraining);
    const outcome = attempt.run.outcome();
    grace.abort(new Error("the grace is over"));
    await expect(outcome).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    expect(guest.signal.aborted).toBe(true);
    await harness.clock.run(125);
    await drained;
    answer.resolve();
  });

  test("says so in the session that it gets meanwhile", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await first.cut();
    const drained = harness.server.drain({ signal: graceful().signal, handBackMs: 1_500 });
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(attemptId(1)), attempt.log]]));
    const second = harness.connect({ onResume });
    await until(() => second.isDraining);
    guest.end();
    await second.resumed?.[0]?.run.outcome();
    await second.resumed?.[0]?.run.acknowledge();
    await drained;
    expect(harness.channel.offers.waiting()).toHaveLength(0);
  });
});

describe("a worker that is closed", { timeout: TIMEOUT_MS }, () => {
  test("ends its guests and sessions, leaves no file, and cancels nothing", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    const session = harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    const outcome = attempt.run.outcome();
    outcome.catch(() => {});
    await Promise.all([harness.server.close(), harness.server.close()]);
    expect(guest.signal.aborted).toBe(true);
    expect(harness.executor.isClosed).toBe(true);
    await session.served;
    await expect(outcome).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
  });

  test("serves no session any more", async () => {
    await using harness = await WorkerHarness.open();
    await harness.server.close();
    const session = harness.connect();
    await session.served;
    expect(harness.channel.offers.waiting()).toHaveLength(0);
  });
});

describe("a worker for a long time", { timeout: TIMEOUT_MS }, () => {
  test("lets nothing grow with its offers", async () => {
    await using harness = await WorkerHarness.open({ slots: 4 });
    const session = harness.connect();
    await harness.offersWaiting(4);
    const entries = session.stats;
    const offer = async (): Promise<void> => {
      const workers = await Promise.all([0, 1, 2, 3].map(() => harness.take()));
      for (const worker of workers) worker[Symbol.dispose]();
      await settle(4);
      harness.clock.advance(1_000);
      await harness.offersWaiting(4);
    };
    for (let round = 0; round < 250; round++) await offer();
    const before = await heapBytes();
    for (let round = 0; round < 2_500; round++) await offer();
    const after = await heapBytes();
    expect(session.stats).toBe(entries);
    // 10,000 offers; a listener or a signal for each would be some megabytes.
    expect(after - before).toBeLessThan(2_000_000);
  });
});

/** In use once everything that can be collected has been. */
async function heapBytes(): Promise<number> {
  const { setFlagsFromString } = await import("node:v8");
  const { runInNewContext } = await import("node:vm");
  setFlagsFromString("--expose-gc");
  const gc: unknown = runInNewContext("gc");
  for (let round = 0; round < 4; round++) {
    if (typeof gc === "function") Reflect.apply(gc, undefined, []);
    await settle(5);
  }
  return process.memoryUsage().heapUsed;
}

describe("a worker with real runners", { timeout: TIMEOUT_MS }, () => {
  test("runs modules that it has fetched, and tells how they ended", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-pool-"));
    try {
      const executor = await RunnerPool.open({ slots: 2, scratchFolder: folder, clock: systemClock, log: silentLog });
      await using harness = await WorkerHarness.open({ slots: 2, executor });
      const session = harness.connect();
      using worker = await harness.take();
      using printed = harness.beginOn(worker, {}, undefined, new ModuleSource(printing("from a guest\n")));
      expect(await printed.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 0 }, outputBytes: 13 });
      expect(printed.log.text()).toBe("from a guest\n");
      await printed.run.acknowledge();
      using other = await harness.take();
      using exited = harness.beginOn(other, {}, undefined, new ModuleSource(exiting(7)));
      expect(await exited.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 7 } });
      await exited.run.acknowledge();
      await harness.clock.run(LEASE_RENEW_EVERY_MS);
      await until(() => session.lastState !== undefined);
      expect(session.lastState?.cachedModules).toHaveLength(2);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
