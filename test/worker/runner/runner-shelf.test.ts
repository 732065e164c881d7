import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import type { Cell } from "../../../src/sandbox/cell.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { operateOnModule } from "../../../src/worker/runner/module-surgery.ts";
import { OwnerWatch } from "../../../src/sandbox/owner-watch.ts";
import { RUNNER_CELL } from "../../../src/worker/runner/runner-cell.ts";
import type { GuestRequest, RunnerProcess } from "../../../src/worker/runner/runner-process.ts";
import { RunnerShelf } from "../../../src/worker/runner/runner-shelf.ts";
import { printing } from "./guest-modules.ts";

const wish = { submitter: "a", tier: "optimized", moduleKey: "module", component: undefined } as const;
const wishOfB = { ...wish, submitter: "b" };

/** A shelf of one process, and room for its successor, where it is not told otherwise. */
class ShelfHarness implements AsyncDisposable {
  readonly shelf: RunnerShelf;
  readonly cell: Cell;
  readonly #watch: OwnerWatch;
  readonly #folder: string;

  private constructor(shelf: RunnerShelf, cell: Cell, watch: OwnerWatch, folder: string) {
    this.shelf = shelf;
    this.cell = cell;
    this.#watch = watch;
    this.#folder = folder;
  }

  static async open(
    sizes: { warm?: number; spares?: number; baselineSpares?: number; max?: number } = {},
  ): Promise<ShelfHarness> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-shelf-"));
    const sandbox = await Sandbox.open({ scratchFolder: folder, log: silentLog });
    const cell = await sandbox.openCell(RUNNER_CELL);
    const watch = new OwnerWatch({ clock: systemClock, log: silentLog });
    const shelf = new RunnerShelf({
      cell,
      warm: 1,
      spares: 0,
      baselineSpares: 0,
      max: 2,
      ...sizes,
      runsPerRunner: 100,
      watch,
      clock: systemClock,
      log: silentLog,
    });
    await shelf.open();
    return new ShelfHarness(shelf, cell, watch, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shelf.close();
    await this.#watch.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** A guest that prints and ends; `onOutput` holds the report of its end back, though it is read. */
function request(onOutput: () => Promise<void>): GuestRequest {
  const { chunks, memoryExport, startExport } = operateOnModule(printing("x"), 1);
  return {
    moduleKey: "module",
    loadParts: async () => ({ cores: [chunks], glue: undefined }),
    order: {
      entry: { kind: "command", memoryExport, startExport },
      args: [],
      env: {},
      outputBytesMax: 1_000,
      outputLimit: "truncate",
      keepsFiles: false,
    },
    stdin: new Uint8Array(0),
    files: [],
    io: { write: onOutput },
  };
}

/** Kills the process between its report of the guest's end and the end of the run, and then does `last`. */
async function runAndKill(runner: RunnerProcess, last: () => Promise<void> = async () => {}): Promise<string> {
  const cpuMs = runner.cpuMs;
  const verdict = await runner.run(
    request(async () => {
      // The report, once read, adds to the CPU time.
      while (runner.cpuMs === cpuMs) await new Promise((resolve) => setImmediate(resolve));
      runner.kill();
      await last();
    }),
  );
  return verdict.kind;
}

describe("a runner that was killed when its guest had just ended", () => {
  test("still tells how the guest ended", async () => {
    await using harness = await ShelfHarness.open();
    expect(await runAndKill(await harness.shelf.take(wish))).toBe("reported");
  });

  test("still tells it when the last output is taken only after the process has gone", async () => {
    await using harness = await ShelfHarness.open();
    const runner = await harness.shelf.take(wish);
    expect(await runAndKill(runner, () => runner.ended)).toBe("reported");
  });

  test("has told nothing when the last output was not taken", async () => {
    await using harness = await ShelfHarness.open();
    const refuse = () => Promise.reject(new Error("no room"));
    expect(await runAndKill(await harness.shelf.take(wish), refuse)).toBe("died");
  });

  test("is not idle again", async () => {
    await using harness = await ShelfHarness.open();
    const runner = await harness.shelf.take(wish);
    await runAndKill(runner);
    expect(runner.state).toBe("ending");
  });

  test("gets no other guest", async () => {
    await using harness = await ShelfHarness.open();
    const killed = await harness.shelf.take(wish);
    await runAndKill(killed);
    harness.shelf.giveBack(killed);
    const next = await harness.shelf.take(wish);
    expect(next).not.toBe(killed);
    expect((await next.run(request(async () => {}))).kind).toBe("reported");
  });
});

describe("a shelf whose machine refuses a process at once", () => {
  test("opens not, starts nothing for who has not asked, and tries again by itself", async () => {
    await using harness = await ShelfHarness.open();
    const { cell } = harness;
    const spawnIn = cell.spawn.bind(cell);
    let refusals = 0;
    cell.spawn = () => {
      refusals++;
      throw new Error("ENOMEM");
    };
    const [first] = harness.shelf.runners();
    harness.shelf.prepare({ ...wish, tier: "baseline" });
    expect(refusals).toBe(1);
    first?.kill();
    await expect.poll(() => refusals, { timeout: 30_000 }).toBeGreaterThan(1);
    cell.spawn = spawnIn;
    await expect.poll(() => harness.shelf.runners()[0]?.state, { timeout: 30_000 }).toBe("idle");
  });
});

describe("a shelf that closes", () => {
  test("waits also for a process that it had given up just before", async () => {
    await using harness = await ShelfHarness.open();
    const runner = await harness.shelf.take(wish);
    harness.shelf.giveBack(runner, { isSpent: true });
    await harness.shelf.close();
    expect(runner.state).toBe("ended");
  });
});

describe("a process without a file descriptor to spare", () => {
  test("survives that no runner and no transpiler can be started, and starts them later", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-crowded-"));
    try {
      const script = fileURLToPath(new URL("crowded-process.ts", import.meta.url));
      const command = ["-c", 'ulimit -n 100; exec "$@"', "sh", process.execPath, script, folder];
      const crowded = spawn("/bin/sh", command, { stdio: ["ignore", "pipe", "inherit"] });
      expect(await text(crowded.stdout)).toBe("not started, not transpiled, then started\n");
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe("a runner that was killed while it waited", () => {
  test("gets no guest", async () => {
    await using harness = await ShelfHarness.open();
    const [first] = harness.shelf.runners();
    first?.kill();
    const runner = await harness.shelf.take(wish);
    expect(runner).not.toBe(first);
    expect(runner.state).toBe("idle");
  });
});

describe("guests of different submitters", () => {
  test("get processes of their own, which they get again", async () => {
    await using harness = await ShelfHarness.open({ warm: 2 });
    const { shelf } = harness;
    const taken: RunnerProcess[] = [];
    for (const each of [wish, wishOfB, wish, wishOfB]) {
      const runner = await shelf.take(each);
      expect((await runner.run(request(async () => {}))).kind).toBe("reported");
      shelf.giveBack(runner);
      taken.push(runner);
    }
    const [ofA, ofB] = taken;
    expect(ofA).not.toBe(ofB);
    expect(taken).toEqual([ofA, ofB, ofA, ofB]);
    expect(shelf.started).toBe(2);
  });

  test("do not share a process though it was only ever taken, and ran nothing", async () => {
    await using harness = await ShelfHarness.open();
    const ofA = await harness.shelf.take(wish);
    harness.shelf.giveBack(ofA);
    expect(await harness.shelf.take(wishOfB)).not.toBe(ofA);
  });

  test("find one that nobody has used, kept ready in the room of the one that waited longest", async () => {
    await using harness = await ShelfHarness.open({ warm: 2, spares: 1, max: 2 });
    const { shelf } = harness;
    const ofA = await shelf.take(wish);
    shelf.giveBack(ofA);
    const ofB = await shelf.take(wishOfB);
    await ofA.ended;
    expect(shelf.runners()).toHaveLength(2);
    const [fresh] = shelf.runners().filter((runner) => runner !== ofB);
    await fresh?.ready;
    expect(await shelf.take({ ...wish, submitter: "c" })).toBe(fresh);
  });

  test("are never given another's process for want of room", async () => {
    await using harness = await ShelfHarness.open({ warm: 1, spares: 0, max: 1 });
    const { shelf } = harness;
    const ofA = await shelf.take(wish);
    shelf.giveBack(ofA);
    const ofB = await shelf.take(wishOfB);
    expect(ofB).not.toBe(ofA);
    await ofA.ended;
    expect(shelf.runners()).toEqual([ofB]);
  });
});
