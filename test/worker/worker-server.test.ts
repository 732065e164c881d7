import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { failed, overloaded } from "../../src/base/errors.ts";
import { LEASE_MS, LEASE_RENEW_EVERY_MS, OUTPUT_IN_MEMORY_BYTES_MAX } from "../../src/base/limits.ts";
import { serveOfferSender } from "../../src/caps/channel-facets.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import { attemptKey } from "../../src/model/run.ts";
import { readChecked } from "../../src/worker/checked-content.ts";
import type { GuestIo, GuestSpec } from "../../src/worker/guest.ts";
import { settle } from "../rpc/vats.ts";
import { FakeExecutor } from "../support/fake-executor.ts";
import { attemptId, bytesOf, digestOf, FileSource, ModuleSource } from "./gateway-parts.ts";
import { until, WorkerHarness } from "./worker-harness.ts";

/** Reads its module, which is damaged before the first so many of its runs. */
class CheckingExecutor extends FakeExecutor {
  readonly #damaged: number;
  attempts = 0;

  constructor(damaged: number) {
    super((run) => run.end());
    this.#damaged = damaged;
  }

  override async run(spec: GuestSpec, io: GuestIo, options: { signal: AbortSignal }): Promise<AttemptEnd> {
    const { modulePath, digest } = spec;
    if (modulePath === undefined || digest === undefined) throw failed("a run without a module");
    if (this.attempts++ < this.#damaged) await writeFile(modulePath, "other bytes");
    await readChecked(modulePath, digest);
    return super.run(spec, io, options);
  }
}

describe("a worker's offers", () => {
  test("are as many as it has free slots", async () => {
    await using harness = await WorkerHarness.open({ slots: 3 });
    harness.connect();
    await harness.offersWaiting(3);
    using first = await harness.begin();
    await harness.guest(0);
    using second = await harness.begin();
    await harness.guest(1);
    await settle();
    expect(harness.channel.offers.waiting()).toHaveLength(1);
    expect(harness.server.state().busy).toBe(2);
    harness.executor.runs[0]?.end();
    await first.run.outcome();
    await harness.offersWaiting(2);
    await first.run.acknowledge();
    harness.executor.runs[1]?.end();
    await second.run.outcome();
    await harness.offersWaiting(3);
    await second.run.acknowledge();
  });

  test("say what the worker is", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    harness.connect();
    await harness.offersWaiting(1);
    expect(harness.channel.offers.waiting()[0]?.value.state).toEqual({
      slots: 1,
      busy: 0,
      weight: 1,
      labels: { zone: "a" },
      version: "1.2.3",
      kinds: ["command", "run", "component"],
      cachedModules: [],
    });
  });

  test("are made again when they are dropped unused, with longer and longer waits", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    harness.connect();
    let waitedMs = 0;
    for (let round = 0; round < 15; round++) {
      (await harness.take())[Symbol.dispose]();
      await settle();
      for (; harness.channel.offers.waiting().length === 0; waitedMs++) {
        await harness.clock.run(1);
        await settle(3);
      }
    }
    expect(waitedMs).toBeGreaterThan(3_000);
    // One that is used starts over.
    using attempt = await harness.begin();
    (await harness.guest(0)).end();
    await attempt.run.outcome();
    await attempt.run.acknowledge();
    (await harness.take())[Symbol.dispose]();
    await settle();
    await harness.clock.run(2);
    await harness.offersWaiting(1);
  });

  test("are made again, after a wait, when the channel fails them", async () => {
    let sends = 0;
    const sender = serveOfferSender({
      send: async ({ worker }) => {
        sends++;
        worker[Symbol.dispose]();
        throw failed("no");
      },
    });
    await using harness = await WorkerHarness.open({ slots: 2 });
    harness.connect({ sender });
    await until(() => sends === 2);
    await settle();
    expect(sends).toBe(2);
    for (let ms = 0; ms < 5_000; ms += 100) {
      await harness.clock.run(100);
      await settle(3);
    }
    expect(sends).toBeGreaterThan(10);
    expect(sends).toBeLessThan(60);
  });

  test("are withdrawn with the session, and made anew in the next", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    for (let round = 0; round < 3; round++) {
      const session = harness.connect();
      await harness.offersWaiting(2);
      await session.cut();
      await harness.offersWaiting(0);
    }
    harness.connect();
    await harness.offersWaiting(2);
  });

  test("come back in the next session also for a slot that a gateway held on to until then", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    using _worker = await harness.take();
    const cut = first.cut();
    harness.connect();
    await cut;
    await harness.offersWaiting(1);
  });
});

describe("a slot", () => {
  test("is used once", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    harness.connect();
    using worker = await harness.take();
    using first = harness.beginOn(worker);
    using second = harness.beginOn(worker);
    await expect(second.run.outcome()).rejects.toMatchObject({ type: "overloaded" });
    (await harness.guest(0)).end();
    expect(await first.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 0 } });
    await first.run.acknowledge();
    await harness.offersWaiting(1);
    expect(harness.executor.runs).toHaveLength(1);
  });

  test("is not used by an attempt that the worker has already", async () => {
    await using harness = await WorkerHarness.open({ slots: 2 });
    harness.connect();
    using first = await harness.begin({ id: attemptId(7) });
    await harness.guest(0);
    using second = await harness.begin({ id: attemptId(7) });
    await expect(second.run.outcome()).rejects.toMatchObject({ type: "overloaded" });
    await harness.offersWaiting(1);
    (await harness.guest(0)).end();
    await first.run.outcome();
    await first.run.acknowledge();
  });
});

describe("an attempt on a worker", () => {
  test("runs, is told, and is forgotten once acknowledged, and leaves nothing in any table", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const session = harness.connect();
    await harness.offersWaiting(1);
    await session.idle(8);
    const attempt = await harness.begin({ args: ["a"], submitter: "token:someone", stdin: Buffer.from("in") });
    const guest = await harness.guest(0);
    expect(guest.spec).toMatchObject({ args: ["a"], submitter: "token:someone", digest: harness.module.digest });
    await guest.print("hello");
    guest.end({ kind: "exited", code: 3 }, { value: "42", usage: { wallMs: 1.5, cpuMs: 1, memoryBytes: 65_536 } });
    expect(await attempt.run.outcome()).toEqual({
      outcome: { kind: "exited", code: 3 },
      value: "42",
      usage: { wallMs: 1.5, cpuMs: 1, memoryBytes: 65_536 },
      outputBytes: 5,
      outputTruncated: false,
    });
    expect(attempt.log.text()).toBe("hello");
    await attempt.run.acknowledge();
    await attempt.run.acknowledge();
    attempt[Symbol.dispose]();
    await harness.offersWaiting(1);
    await session.idle(8);
  });

  test("is not told before its output is durable", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    const held = Promise.withResolvers<void>();
    using attempt = await harness.begin({}, () => held.promise);
    const guest = await harness.guest(0);
    void guest.print("slow");
    guest.end();
    let isTold = false;
    const told = attempt.run.outcome().then(() => (isTold = true));
    await settle();
    expect(isTold).toBe(false);
    held.resolve();
    await told;
    await attempt.run.acknowledge();
  });

  test("keeps its guest waiting for a slow gateway", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    const held = Promise.withResolvers<void>();
    using attempt = await harness.begin({}, () => held.promise);
    const guest = await harness.guest(0);
    await guest.io.write("stdout", bytesOf(OUTPUT_IN_MEMORY_BYTES_MAX));
    let isWelcome = false;
    const waiting = guest.print("more").then(() => (isWelcome = true));
    await settle();
    expect(isWelcome).toBe(false);
    held.resolve();
    await waiting;
    guest.end();
    expect(await attempt.run.outcome()).toMatchObject({ outputBytes: OUTPUT_IN_MEMORY_BYTES_MAX + 4 });
    await attempt.run.acknowledge();
  });

  test("ends as cancelled when the gateway cancels it, also while its module is fetched", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using running = await harness.begin();
    await harness.guest(0);
    await running.run.cancel();
    await running.run.cancel();
    expect(await running.run.outcome()).toMatchObject({ outcome: { kind: "cancelled" } });
    await running.run.acknowledge();
    const stuck = new ModuleSource(bytesOf(2_000, 5), () => new Promise(() => {}));
    using worker = await harness.take();
    using fetching = harness.beginOn(worker, {}, undefined, stuck);
    await until(() => stuck.reads > 0);
    await fetching.run.cancel();
    expect(await fetching.run.outcome()).toMatchObject({ outcome: { kind: "cancelled" } });
    await fetching.run.acknowledge();
    expect(harness.executor.runs).toHaveLength(1);
    await harness.offersWaiting(2);
  });

  test("is lost when its module is not what it should be", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using corrupt = await harness.begin({ module: new ModuleSource(bytesOf(9)).digest });
    expect(await corrupt.run.outcome()).toMatchObject({ outcome: { kind: "lost" } });
    await corrupt.run.acknowledge();
    await harness.offersWaiting(2);
  });

  test("is handed back, blaming nobody, when the worker's machine cannot run it", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using broken = await harness.begin();
    (await harness.guest(0)).fail(new Error("ENOSPC: no space left on device"));
    await expect(broken.run.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    await broken.run.acknowledge();
    await harness.offersWaiting(2);
  });

  test("has its module fetched again, and notices nothing, when the file of the cache turns out to be damaged", async () => {
    await using executor = new CheckingExecutor(1);
    await using harness = await WorkerHarness.open({ executor });
    harness.connect();
    using attempt = await harness.begin();
    expect(await attempt.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 0 } });
    expect([executor.attempts, harness.module.reads]).toEqual([2, 2]);
    await attempt.run.acknowledge();
    await until(() => harness.module.releases === 1);
  });

  test("is handed back, blaming nobody, when its module is damaged again at once", async () => {
    await using executor = new CheckingExecutor(Infinity);
    await using harness = await WorkerHarness.open({ executor });
    harness.connect();
    using attempt = await harness.begin();
    await expect(attempt.run.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    expect(executor.attempts).toBe(2);
    await attempt.run.acknowledge();
  });

  test("is handed back, blaming nobody, when the source of its module has too much to do", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using worker = await harness.take();
    const busy = new ModuleSource(bytesOf(2_000, 5), () => {
      throw overloaded("busy");
    });
    using attempt = harness.beginOn(worker, {}, undefined, busy);
    await expect(attempt.run.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    await attempt.run.acknowledge();
    await harness.offersWaiting(2);
  });

  test("is lost, not cancelled, when the gateway refuses its output", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using attempt = await harness.begin({}, () => {
      throw failed("the disk is full");
    });
    const guest = await harness.guest(0);
    await guest.print("x");
    expect(await attempt.run.outcome()).toMatchObject({
      outcome: { kind: "lost", reason: "the gateway refused its output: the disk is full" },
      outputTruncated: true,
    });
    expect(guest.signal.aborted).toBe(true);
    await attempt.run.acknowledge();
    await harness.offersWaiting(2);
  });

  test("is handed back, blaming nobody, when the worker's disk does not take its output", async () => {
    await using harness = await WorkerHarness.open();
    const session = harness.connect();
    const id = attemptId(1);
    using attempt = await harness.begin({ id });
    const guest = await harness.guest(0);
    await session.cut();
    await rm(harness.spoolFolder, { recursive: true });
    await guest.io.write("stdout", bytesOf(2 * OUTPUT_IN_MEMORY_BYTES_MAX));
    await guest.io.write("stdout", bytesOf(1));
    expect(guest.signal.aborted).toBe(true);
    await mkdir(harness.spoolFolder);
    const second = harness.connect({ onResume: WorkerHarness.adopting(new Map([[attemptKey(id), attempt.log]])) });
    await until(() => second.resumed !== undefined);
    const resumed = second.resumed?.[0]?.run;
    await expect(resumed?.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    await resumed?.acknowledge();
    await harness.offersWaiting(2);
  });

  test("holds its module's source no longer than it takes to have it", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await until(() => harness.module.releases === 1);
    guest.end();
    await attempt.run.outcome();
    await attempt.run.acknowledge();
  });

  test("goes on when the gateway stops asking for its outcome, which holds nothing", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const session = harness.connect();
    await harness.offersWaiting(1);
    await session.idle(8);
    const attempt = await harness.begin();
    await harness.guest(0);
    for (let round = 0; round < 5; round++) {
      const given = new AbortController();
      const asked = attempt.run.outcome({ signal: given.signal });
      await settle();
      given.abort(new Error("later"));
      await expect(asked).rejects.toThrow("later");
    }
    expect(harness.executor.active).toBe(1);
    (await harness.guest(0)).end();
    await attempt.run.outcome();
    await attempt.run.acknowledge();
    attempt[Symbol.dispose]();
    await session.idle(8);
  });
});

describe("a worker's leases", () => {
  test("are renewed, with what it holds and what it is", async () => {
    await using harness = await WorkerHarness.open();
    const session = harness.connect();
    using attempt = await harness.begin({ id: attemptId(5) });
    await harness.guest(0);
    for (let round = 1; round <= 10; round++) {
      await harness.clock.run(LEASE_RENEW_EVERY_MS);
      await until(() => session.renewals.length === round);
    }
    expect(session.renewals.at(-1)).toEqual([attemptId(5)]);
    expect(session.lastState).toMatchObject({ busy: 1, slots: 2 });
    expect(harness.executor.active).toBe(1);
    await attempt.run.acknowledge();
    (await harness.guest(0)).end();
  });

  test("stop the guest that the gateway no longer holds to be alive", async () => {
    await using harness = await WorkerHarness.open();
    const session = harness.connect({ onRenew: async (ids) => ids.slice(0, 1) });
    using _first = await harness.begin();
    using second = await harness.begin();
    const [one, two] = [await harness.guest(0), await harness.guest(1)];
    await harness.clock.run(LEASE_RENEW_EVERY_MS);
    await until(() => one.signal.aborted);
    expect(two.signal.aborted).toBe(false);
    await harness.clock.run(LEASE_RENEW_EVERY_MS);
    await until(() => session.renewals.length === 2);
    expect(session.renewals[1]).toHaveLength(1);
    await until(() => two.signal.aborted);
    await expect(second.run.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    await harness.offersWaiting(2);
  });

  test("survive a gateway that is too busy for a moment", async () => {
    let isBusy = true;
    await using harness = await WorkerHarness.open();
    const session = harness.connect({
      onRenew: async () => {
        if (isBusy) throw overloaded("busy");
        return [];
      },
    });
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    for (let ms = 0; ms < 4 * LEASE_MS; ms += 500) {
      isBusy = ms < LEASE_MS * 0.8;
      await harness.clock.run(500);
      await settle();
    }
    expect(session.renewals.length).toBeLessThan(30);
    expect(guest.signal.aborted).toBe(false);
    guest.end();
    await attempt.run.outcome();
    await attempt.run.acknowledge();
  });

  test("stop guests before the gateway's own end, when they are not renewed", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect({ onRenew: () => new Promise(() => {}) });
    using attempt = await harness.begin();
    const guest = await harness.guest(0);
    await harness.clock.run(LEASE_MS * 0.85);
    expect(guest.signal.aborted).toBe(false);
    await harness.clock.run(LEASE_MS * 0.15);
    expect(guest.signal.aborted).toBe(true);
    await expect(attempt.run.outcome()).rejects.toMatchObject({ type: "overloaded", code: "handed-back" });
    await harness.offersWaiting(2);
  });

  test("end a session whose gateway fails to renew them, and its guests with the lease", async () => {
    await using harness = await WorkerHarness.open();
    const session = harness.connect({
      onRenew: async () => {
        throw failed("no");
      },
    });
    using _attempt = await harness.begin();
    const guest = await harness.guest(0);
    await harness.clock.run(LEASE_RENEW_EVERY_MS);
    await expect(session.served).rejects.toMatchObject({ type: "failed" });
    expect(guest.signal.aborted).toBe(false);
    await harness.clock.run(LEASE_MS);
    expect(guest.signal.aborted).toBe(true);
    harness.connect();
    await harness.offersWaiting(2);
  });
});

describe("the files of an attempt", () => {
  const contents = {
    "in/a": bytesOf(5_000, 7),
    b: bytesOf(3, 8),
    "same as b": bytesOf(3, 8),
    empty: new Uint8Array(0),
  };

  test("are there for its guest, fetched once for all attempts", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    const files = new FileSource(contents);
    for (const round of [0, 1]) {
      using worker = await harness.take();
      using attempt = harness.beginOn(worker, {}, undefined, undefined, files);
      const guest = await harness.guest(round);
      const found = await Promise.all(
        guest.spec.files.map(async ({ path, contentPath }) => [path, new Uint8Array(await readFile(contentPath))]),
      );
      expect(Object.fromEntries(found)).toEqual(contents);
      guest.end();
      await attempt.run.outcome();
      await attempt.run.acknowledge();
    }
    expect(files.reads).toBe(2);
    expect(harness.server.state().cachedModules).toEqual([harness.module.digest]);
  });

  test("that are not what the spec says make it lost", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    const files = new FileSource(contents);
    const spec = { files: [{ path: "a", digest: digestOf(bytesOf(1)), bytes: 1 }] };
    using worker = await harness.take();
    using attempt = harness.beginOn(worker, spec, undefined, undefined, files);
    expect(await attempt.run.outcome()).toMatchObject({ outcome: { kind: "lost" } });
    await attempt.run.acknowledge();
  });

  test("that its guest leaves are handed over before the outcome is told", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using attempt = await harness.begin({ outputs: ["*"] });
    const held = Promise.withResolvers<void>();
    attempt.log.files.onCall = (call) => (call === "finish" ? held.promise : undefined);
    const guest = await harness.guest(0);
    await guest.keep("a", bytesOf(10));
    await guest.keep("b", bytesOf(0));
    guest.end({ kind: "exited", code: 2 });
    let isTold = false;
    const told = attempt.run.outcome().finally(() => (isTold = true));
    await until(() => attempt.log.files.calls.finish > 0);
    expect(isTold).toBe(false);
    held.resolve();
    expect(await told).toMatchObject({ outcome: { kind: "exited", code: 2 } });
    expect([...attempt.log.files.contents.keys()]).toEqual(["a", "b"]);
    await attempt.run.acknowledge();
  });

  test("go on to the next gateway when the connection is lost in the middle of them", async () => {
    await using harness = await WorkerHarness.open({ slots: 1 });
    const first = harness.connect();
    const id = attemptId(1);
    using attempt = await harness.begin({ id, outputs: ["*"] });
    attempt.log.files.onCall = async (call) => {
      if (call === "finish" && attempt.log.files.contents.size === 1) await first.cut();
    };
    const guest = await harness.guest(0);
    for (const name of ["a", "b", "c"]) await guest.keep(name, bytesOf(10));
    guest.end();
    await until(() => attempt.log.files.calls.finish === 2);
    await first.served.catch(() => {});
    attempt.log.files.onCall = () => {};
    const second = harness.connect({ onResume: WorkerHarness.adopting(new Map([[attemptKey(id), attempt.log]])) });
    await until(() => second.resumed !== undefined);
    const [held] = second.resumed ?? [];
    expect(await held?.run.outcome()).toMatchObject({ outcome: { kind: "exited", code: 0 } });
    expect([...attempt.log.files.contents.keys()].toSorted()).toEqual(["a", "b", "c"]);
    await held?.run.acknowledge();
  });

  test("make it lost when the gateway refuses them", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using attempt = await harness.begin({ outputs: ["*"] });
    attempt.log.files.onCall = () => {
      throw failed("no glob matches", { code: "not-wanted" });
    };
    const guest = await harness.guest(0);
    await guest.keep("a", bytesOf(10));
    guest.end();
    const reason: unknown = expect.stringContaining("no glob matches");
    expect(await attempt.run.outcome()).toMatchObject({ outcome: { kind: "lost", reason } });
    await attempt.run.acknowledge();
  });

  test("are not kept when the guest has ended otherwise, or the run keeps none", async () => {
    await using harness = await WorkerHarness.open();
    harness.connect();
    using attempt = await harness.begin({ outputs: ["*"] });
    const guest = await harness.guest(0);
    await guest.keep("a", bytesOf(10));
    guest.end({ kind: "output-exceeded", reason: "too much" });
    expect(await attempt.run.outcome()).toMatchObject({ outcome: { kind: "output-exceeded", reason: "too much" } });
    expect(attempt.log.files.calls.keep).toBe(0);
    await attempt.run.acknowledge();
    using other = await harness.begin();
    const second = await harness.guest(1);
    expect("keep" in second.io).toBe(false);
    second.end();
    await other.run.outcome();
    await other.run.acknowledge();
  });
});
