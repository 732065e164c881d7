import { spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test, vi } from "vitest";
import { overloaded } from "../../../src/base/errors.ts";
import { SMALL_CODE_BYTES_MAX, TRANSPILE_MS_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { inspectModule } from "../../../src/model/wasm-inspect.ts";
import { isDamagedFile } from "../../../src/worker/checked-content.ts";
import type { GuestSpec } from "../../../src/worker/guest.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { ComponentTranspiler } from "../../../src/worker/runner/component-transpiler.ts";
import { RunnerPool } from "../../../src/worker/runner/runner-pool.ts";
import { guestBytes } from "../../support/guests.ts";
import { inlineInspector } from "../../support/inline-inspector.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { buildWasm, I32, i32, local, SPIN } from "../../support/wasm-builder.ts";
import { exiting, noop, printing, sleeping, spinning } from "./guest-modules.ts";
import { digestOf, isAlive, PoolHarness } from "./pool-harness.ts";

const SECOND_NS = 1_000_000_000n;

describe("a pool of runners", () => {
  test("runs as many guests at once as it has slots, and no more", async () => {
    await using harness = await PoolHarness.open({ slots: 3 });
    const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const allBusy = Promise.withResolvers<void>();
    let started = 0;
    const ended = gates.map((gate) =>
      harness.run(printing("up\n"), {
        async onOutput() {
          started++;
          if (started === 3) allBusy.resolve();
          await gate.promise;
        },
      }),
    );
    await allBusy.promise;
    expect(harness.pool.stats()).toMatchObject({ slots: 3, busy: 3 });
    expect(started).toBe(3);
    for (const gate of gates) gate.resolve();
    const outcomes = (await Promise.all(ended)).map(({ outcome }) => outcome.kind);
    expect(outcomes).toEqual(["exited", "exited", "exited", "exited", "exited"]);
    expect(harness.pool.stats()).toMatchObject({ busy: 0, waiting: 0, finished: 5 });
  });

  test("lets one who waits go when it is cancelled", async () => {
    await using harness = await PoolHarness.open({ slots: 1 });
    const abort = new AbortController();
    const hold = Promise.withResolvers<void>();
    const up = Promise.withResolvers<void>();
    const first = harness.run(printing("up"), {
      async onOutput() {
        up.resolve();
        await hold.promise;
      },
    });
    await up.promise;
    const second = harness.run(noop, { signal: abort.signal });
    abort.abort();
    expect((await second).outcome.kind).toBe("cancelled");
    hold.resolve();
    expect((await first).outcome.kind).toBe("exited");
  });

  test("has a warm process ready after one was killed", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 1 });
    await harness.run(spinning, { timeoutMs: 100 });
    const before = performance.now();
    await harness.run(noop);
    expect(performance.now() - before).toBeLessThan(10_000);
    await vi.waitFor(() => expect(harness.pool.stats().runners.length).toBe(2), 10_000);
  });

  test("replaces a process that has served its number of runs", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 0, runsPerRunner: 10 });
    const first = harness.pids();
    for (let run = 0; run < 35; run++) {
      expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
    }
    expect(harness.pool.stats().started).toBe(4);
    expect(harness.pids()).not.toEqual(first);
    expect(first.filter(isAlive)).toEqual([]);
  });

  test("does not start a process for each run", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 0 });
    for (let run = 0; run < 20; run++) await harness.run(exiting(run));
    expect(harness.pool.stats().started).toBe(1);
  });

  test("gives no guest a process that has run one of another submitter's", async () => {
    await using harness = await PoolHarness.open({ slots: 2, spares: 1 });
    const runs = async (submitter: string): Promise<Map<number | undefined, number>> => {
      for (let run = 0; run < 3; run++) {
        expect((await harness.run(exiting(run), { submitter })).outcome).toEqual({ kind: "exited", code: run });
      }
      return new Map(harness.pool.stats().runners.map((runner) => [runner.pid, runner.runs]));
    };
    const afterA = await runs("a");
    const [ofA] = [...afterA].filter(([, count]) => count > 0).map(([pid]) => pid);
    const afterB = await runs("b");
    expect(afterB.get(ofA)).toBe(afterA.get(ofA));
    expect([...afterB.values()].filter((count) => count > 0)).toEqual([3, 3]);
  });

  test("runs large code on a runner whose compiler is quick to start", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 0 });
    const padding = Array.from({ length: SMALL_CODE_BYTES_MAX }, () => 0x01);
    const large = buildWasm({ functions: [{ export: "_start", body: [] }, { body: padding }] });
    expect((await harness.run(large)).outcome).toEqual({ kind: "exited", code: 0 });
    const tiers = harness.pool.stats().runners.map(({ tier, runs }) => [tier, runs]);
    expect(tiers).toEqual([
      ["optimized", 0],
      ["baseline", 1],
    ]);
  });

  test("has a runner for large code ready, and another when that one has become somebody's", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 0, baselineSpares: 1 });
    const padding = Array.from({ length: SMALL_CODE_BYTES_MAX }, () => 0x01);
    const large = buildWasm({ functions: [{ export: "_start", body: [] }, { body: padding }] });
    const waiting = await vi.waitFor(() => {
      const found = harness.pool.stats().runners.filter(({ tier }) => tier === "baseline");
      expect(found).toHaveLength(1);
      return found;
    }, 10_000);
    await harness.run(large);
    await vi.waitFor(() => {
      const baseline = harness.pool.stats().runners.filter(({ tier }) => tier === "baseline");
      expect(baseline.map(({ pid, runs }) => [pid === waiting[0]?.pid, runs])).toEqual([
        [true, 1],
        [false, 0],
      ]);
    }, 10_000);
    expect(harness.pids().length).toBe(3);
  });

  test("runs large code on a runner that optimizes it once it has taken long", { timeout: 600_000 }, async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 0 });
    const padding = Array.from({ length: SMALL_CODE_BYTES_MAX }, () => 0x01);
    // Counts down from its first argument: loop; local0 -= 1; br_if 0
    const count = [0x03, 0x40, ...local(0), ...i32(1), 0x6b, 0x22, 0x00, 0x0d, 0x00, 0x0b, ...i32(7)];
    const large = buildWasm({
      functions: [{ export: "run", parameters: [I32, I32], results: [I32], body: count }, { body: padding }],
    });
    const tierOf = async (input: number): Promise<string | undefined> => {
      const before = new Map(harness.pool.stats().runners.map(({ pid, runs }) => [pid, runs]));
      const { value } = await harness.run(large, {
        entry: { kind: "run", input, difficulty: 0 },
        timeoutMs: 300_000,
        cpuMs: 300_000,
      });
      expect(value).toBe("7");
      return harness.pool.stats().runners.find(({ pid, runs }) => runs > (before.get(pid) ?? 0))?.tier;
    };
    expect(await tierOf(1)).toBe("baseline");
    expect(await tierOf(2_100_000_000)).toBe("baseline");
    expect(await tierOf(1)).toBe("optimized");
  });

  test("keeps the number of its processes within bounds, whatever it runs", async () => {
    await using harness = await PoolHarness.open({ slots: 1, spares: 1 });
    const padding = Array.from({ length: SMALL_CODE_BYTES_MAX }, () => 0x01);
    const large = buildWasm({ functions: [{ export: "_start", body: [] }, { body: padding }] });
    for (let round = 0; round < 3; round++) {
      for (const module of [large, noop]) expect((await harness.run(module)).outcome.kind).toBe("exited");
      const { outcome } = await harness.run(guestBytes("component"), { entry: { kind: "component" } });
      expect(outcome).toEqual({ kind: "exited", code: 0 });
      expect(harness.pids().length).toBeLessThanOrEqual(3);
    }
  });

  test("reads a module once for many runs at the same time", async () => {
    // Asked by each who judges a module.
    const version = vi.fn<() => Promise<string>>(inlineInspector.version);
    await using harness = await PoolHarness.open({ slots: 2, inspector: { ...inlineInspector, version } });
    const ended = await Promise.all(Array.from({ length: 20 }, () => harness.run(exiting(4))));
    expect(new Set(ended.map(({ outcome }) => outcome.kind === "exited" && outcome.code))).toEqual(new Set([4]));
    expect(version).toHaveBeenCalledTimes(1);
  });

  test("keeps no module in memory that nobody waits for any more, or may run", async () => {
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const read: WeakRef<Uint8Array>[] = [];
    const gate = Promise.withResolvers<void>();
    const up = Promise.withResolvers<void>();
    const inspectBytes = async (bytes: Uint8Array) => {
      read.push(new WeakRef(bytes));
      up.resolve();
      await gate.promise;
      return inspectModule(bytes);
    };
    await using harness = await PoolHarness.open({ inspector: { ...inlineInspector, inspectBytes } });
    const abort = new AbortController();
    const given = harness.run(exiting(1), { signal: abort.signal });
    await up.promise;
    abort.abort();
    expect((await given).outcome.kind).toBe("cancelled");
    gate.resolve();
    expect((await harness.run(exiting(2), { memoryBytes: 0 })).outcome.kind).toBe("memory-exceeded");
    await expect
      .poll(() => {
        collect();
        return read.map((bytes) => bytes.deref());
      })
      .toEqual([undefined, undefined]);
  });

  test("blames no run for a module that this machine cannot read", async () => {
    await using harness = await PoolHarness.open({ slots: 1 });
    const ended = harness.pool.run(
      { ...specOf("/nowhere/at/all.wasm"), digest: digestOf(noop) },
      { write: async () => {} },
      { signal: new AbortController().signal },
    );
    await expect(ended).rejects.toMatchObject({ type: "overloaded", message: expect.stringContaining("ENOENT") });
    expect((await harness.run(noop)).outcome.kind).toBe("exited");
  });

  test("blames no run for modules that cannot be inspected now", async () => {
    const refusal = overloaded("modules cannot be inspected now", { code: "inspector" });
    const inspectBytes = () => Promise.reject(refusal);
    await using harness = await PoolHarness.open({ inspector: { ...inlineInspector, inspectBytes } });
    await expect(harness.run(noop)).rejects.toBe(refusal);
  });

  test("takes no guest for a success whose files went with its process", async () => {
    await using harness = await PoolHarness.open();
    const pids = harness.pids();
    const end = await harness.run(printing("x"), {
      outputs: ["**"],
      timeoutMs: 500,
      async onOutput() {
        await vi.waitUntil(() => !pids.some(isAlive), { timeout: 30_000, interval: 5 });
      },
    });
    expect(end.outcome.kind).toBe("timed-out");
  });

  test("ends a guest as cancelled though it waits for a process that does not come up", async () => {
    let starts = 0;
    const stuck = ["--eval", "setInterval(() => {}, 1_000)"];
    await using harness = await PoolHarness.open({
      alterSpawn: (spawn) => (starts++ === 0 ? spawn : { ...spawn, flags: [...spawn.flags, ...stuck] }),
    });
    for (const pid of harness.pids()) process.kill(pid, "SIGKILL");
    await vi.waitUntil(() => starts === 2, { timeout: 30_000, interval: 5 });
    const abort = new AbortController();
    const stopped = harness.run(noop, { signal: abort.signal });
    const closed = harness.run(exiting(1));
    await vi.waitUntil(() => harness.pool.stats().waiting === 1, { timeout: 30_000, interval: 5 });
    abort.abort();
    expect((await stopped).outcome.kind).toBe("cancelled");
    await harness.pool.close();
    expect((await closed).outcome.kind).toBe("cancelled");
  });

  test("loses only the run whose component takes too long to transpile", async () => {
    const clock = new ManualClock();
    await using harness = await PoolHarness.open({ slots: 1, clock });
    const component = { entry: { kind: "component" } } as const;
    const stopped = harness.run(guestBytes("component"), component);
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    clock.advance(TRANSPILE_MS_MAX);
    expect((await stopped).outcome.kind).toBe("lost");
    const again = await harness.run(guestBytes("component"), component);
    expect(again.outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("stops transpiling a component whose only run is cancelled, and plans it anew for the next", async () => {
    const clock = new ManualClock();
    await using harness = await PoolHarness.open({ slots: 1, clock });
    const component = { entry: { kind: "component" } } as const;
    const cancelling = new AbortController();
    const cancelled = harness.run(guestBytes("component"), { ...component, signal: cancelling.signal });
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    cancelling.abort();
    expect((await cancelled).outcome.kind).toBe("cancelled");
    await vi.waitUntil(() => clock.pendingTimers === 0, { timeout: 30_000, interval: 1 });
    const again = await harness.run(guestBytes("component"), component);
    expect(again.outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("leaves nothing on a signal that many runs share", async () => {
    await using harness = await PoolHarness.open({ slots: 2 });
    const { signal } = new AbortController();
    const runs = Array.from({ length: 10 }, (_, code) => harness.run(exiting(code), { signal }));
    await Promise.all(runs);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});

describe("closing a pool", () => {
  test("ends its guests as cancelled and leaves no process", async () => {
    const harness = await PoolHarness.open({ slots: 2, spares: 1 });
    const up = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
    const ended = [
      harness.run(printing("up", [...SPIN]), { onOutput: () => up[0].resolve() }),
      harness.run(printing("up", [...SPIN]), { onOutput: () => up[1].resolve() }),
    ];
    await Promise.all(up.map(({ promise }) => promise));
    // It waits for a slot, now that both are taken.
    ended.push(harness.run(sleeping(3_600n * SECOND_NS)));
    const pids = harness.pids();
    expect(pids.length).toBe(3);
    await harness[Symbol.asyncDispose]();
    expect((await Promise.all(ended)).map(({ outcome }) => outcome.kind)).toEqual([
      "cancelled",
      "cancelled",
      "cancelled",
    ]);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test("twice is no different from once", async () => {
    const harness = await PoolHarness.open();
    await Promise.all([harness.pool.close(), harness.pool.close()]);
    await harness[Symbol.asyncDispose]();
    expect(harness.pids()).toEqual([]);
  });
});

describe("the owner's sudden death", () => {
  test("ends a guest that spins, and the processes that wait", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-owner-"));
    try {
      const modulePath = join(folder, "spin.wasm");
      await writeFile(modulePath, printing("up", [...SPIN]));
      const script = fileURLToPath(new URL("hold-pool.ts", import.meta.url));
      const owner = spawn(process.execPath, [script, join(folder, "scratch"), modulePath], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const [line] = await once(createInterface({ input: owner.stdout }), "line");
      const pids = parsePids(String(line));
      expect(pids.length).toBeGreaterThanOrEqual(2);
      expect(pids.filter(isAlive)).toEqual(pids);
      owner.kill("SIGKILL");
      await once(owner, "exit");
      await vi.waitUntil(() => !pids.some(isRunning), { timeout: 30_000, interval: 10 });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("the scratch folder", () => {
  test("loses the code of other versions, and nothing else", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-scratch-"));
    try {
      for (const name of ["runner-0123456789abcdef0123", "runner-0123456789abcdef0123.draft", "components"]) {
        await mkdir(join(folder, name));
        await writeFile(join(folder, name, "file"), "");
      }
      const sandbox = await Sandbox.open({ scratchFolder: folder, log: silentLog, walls: [] });
      await sandbox.openCell(
        new ComponentTranspiler({ sandbox, scratchFolder: folder, clock: systemClock, slots: 1 }).cell,
      );
      await openAndClose(folder);
      const names = await readdir(folder);
      expect(names).toContain("components");
      expect(names.filter((name) => name.startsWith("runner-0123"))).toEqual([]);
      // The components, and the code of the processes that run, transpile and inspect.
      expect(names.length).toBe(4);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("holds the runners' code once, however many pools there were", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-scratch-"));
    try {
      await Promise.all([openAndClose(folder), openAndClose(folder)]);
      await openAndClose(folder);
      expect((await readdir(folder)).length).toBe(2);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("a module's file that is damaged", () => {
  const component = { entry: { kind: "component" } } as const;

  test.each([
    ["gone", (path: string) => rm(path)],
    ["cut short", (path: string) => truncate(path, 10)],
    ["changed", (path: string) => writeFile(path, printing("other"))],
  ])("is not run, whether it is planned or loaded: it is %s", async (_how, damage) => {
    await using harness = await PoolHarness.open();
    const module = printing("right");
    const spec = await harness.spec(module);
    const path = spec.modulePath ?? "";
    await damage(path);
    await expect(harness.run(module)).rejects.toSatisfy(isDamagedFile);
    await writeFile(path, module);
    expect((await harness.run(module)).stdout).toBe("right");
    await damage(path);
    // What is compiled is not read again; with another cap it is.
    expect((await harness.run(module)).stdout).toBe("right");
    await expect(harness.run(module, { memoryBytes: 1_048_576 })).rejects.toSatisfy(isDamagedFile);
    await writeFile(path, module);
    expect((await harness.run(module, { memoryBytes: 1_048_576 })).stdout).toBe("right");
  });

  test("is no component that runs", async () => {
    await using harness = await PoolHarness.open();
    const module = guestBytes("component");
    const { modulePath } = await harness.spec(module, component);
    await truncate(modulePath ?? "", 100);
    await expect(harness.run(module, component)).rejects.toSatisfy(isDamagedFile);
  });
});

async function openAndClose(scratchFolder: string): Promise<void> {
  await using pool = await RunnerPool.open({
    slots: 1,
    spares: 0,
    baselineSpares: 0,
    scratchFolder,
    clock: systemClock,
    log: silentLog,
  });
  expect(pool.stats().runners.length).toBe(1);
}

function specOf(modulePath: string): Omit<GuestSpec, "digest"> {
  return {
    modulePath,
    entry: { kind: "command" },
    args: [],
    env: {},
    stdin: new Uint8Array(0),
    timeoutMs: 10_000,
    cpuMs: 10_000,
    memoryBytes: 1_048_576,
    outputBytesMax: 1_000,
    outputLimit: "truncate",
    submitter: "local",
    files: [],
    outputs: [],
  };
}

function parsePids(line: string): number[] {
  return JSON.parse(line) as number[];
}

/** Alive, and not merely waiting for its new parent to take note of its end. */
function isRunning(pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return process.platform !== "linux" && isAlive(pid);
  }
}
