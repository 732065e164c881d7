/**
 * Guests that compute: the hash puzzle on a worker that has never seen it, against the same C compiled natively, by their
 * CPU time; and the first run of an interpreter, from its file to its end, against both ways of running it: read, and
 * handed to a runner of that kind, which is up already; by time on the wall. Of several rounds the best counts: what a
 * busy machine adds is no part of it.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { silentLog } from "../../src/base/log.ts";
import { Sandbox } from "../../src/sandbox/sandbox.ts";
import { operateOnModule } from "../../src/worker/runner/module-surgery.ts";
import { RUNNER_CELL } from "../../src/worker/runner/runner-cell.ts";
import type { RunnerTier } from "../../src/worker/runner/runner-cell.ts";
import { RunnerProcess } from "../../src/worker/runner/runner-process.ts";
import { guestBytes } from "../support/guests.ts";
import { PoolHarness } from "../worker/runner/pool-harness.ts";
import type { Figure } from "./measure.ts";
import type { Interpreter } from "./runner-interpreter.ts";
import { benchWasmtime } from "./runner-wasmtime.ts";

const run = promisify(execFile);
const NATIVE = fileURLToPath(new URL("./native/", import.meta.url));
const HASH_SOURCE = fileURLToPath(new URL("../../wasm-tasks/hash/hash.c", import.meta.url));
const ROUNDS = 5;
const PUZZLE = { difficulty: 6, answer: "3140321" } as const;
const MEMORY_PAGES = 4_096;
const TIERS: readonly RunnerTier[] = ["baseline", "optimized"];

export async function benchTiers(interpreter: Interpreter): Promise<Figure[]> {
  return [
    ...(await benchPuzzle()),
    ...(await benchInterpreter(interpreter)),
    ...(await benchWasmtime(interpreter, PUZZLE)),
  ];
}

async function benchPuzzle(): Promise<Figure[]> {
  const ours: number[] = [];
  const native: number[] = [];
  await using program = await buildNative();
  for (let round = 0; round < ROUNDS; round++) {
    await using harness = await PoolHarness.open({ slots: 1 });
    const entry = { kind: "run", input: 0, difficulty: PUZZLE.difficulty } as const;
    const { value, usage } = await harness.run(guestBytes("hash"), { entry });
    if (value !== PUZZLE.answer) throw new Error(`the puzzle's answer is ${PUZZLE.answer}, not ${value}`);
    ours.push(usage.cpuMs);
    if (program !== undefined) native.push(await program.cpuMs());
  }
  const name = "hash puzzle 6, first run ever, CPU time";
  const value = Math.min(...ours);
  if (native.length === 0) return [{ name, unit: "ms", value }];
  const against = { name: "the same C, native -O2", value: Math.min(...native) };
  return [{ name, unit: "ms", value, against, target: { atMost: 1.25 } }];
}

/** Undefined, and a word why, where there is no C compiler. */
async function buildNative(): Promise<(AsyncDisposable & { cpuMs(): Promise<number> }) | undefined> {
  if (spawnSync("cc", ["--version"]).status !== 0) {
    console.warn("bench: there is no native C to hold the puzzle against: no cc");
    return undefined;
  }
  const folder = await mkdtemp(join(tmpdir(), "capmesh-native-"));
  const program = join(folder, "hash-native");
  await run("cc", ["-O2", "-w", "-I", NATIVE, join(NATIVE, "hash-native.c"), HASH_SOURCE, "-o", program]);
  return {
    async cpuMs() {
      const { stdout } = await run(program, ["0", String(PUZZLE.difficulty)]);
      const { answer, cpuMs }: { answer: string; cpuMs: number } = JSON.parse(stdout);
      if (answer !== PUZZLE.answer) throw new Error(`natively the puzzle's answer is ${answer}`);
      return cpuMs;
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

async function benchInterpreter(interpreter: Interpreter): Promise<Figure[]> {
  const ours: number[] = [];
  const ways = new Map<RunnerTier, { first: number[]; later: number[] }>();
  for (const tier of TIERS) ways.set(tier, { first: [], later: [] });
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await firstRun(interpreter));
    for (const [tier, times] of ways) {
      const { first, later } = await bothRuns(interpreter, tier);
      times.first.push(first);
      times.later.push(later);
    }
  }
  const figures: Figure[] = [];
  let best: Figure["against"];
  for (const [tier, { first, later }] of ways) {
    const value = Math.min(...first);
    if (best === undefined || value < best.value) best = { name: `the better way, ${tier}`, value };
    figures.push({ name: `${interpreter.name}: ${tier} runner, first run`, unit: "ms", value });
    figures.push({ name: `${interpreter.name}: ${tier} runner, later`, unit: "ms", value: Math.min(...later) });
  }
  const value = Math.min(...ours);
  const name = `${interpreter.name}: first run ever on a worker`;
  return [...figures, { name, unit: "ms", value, against: best, target: { atMost: 1.2 } }];
}

/** On a worker that does not know it. */
async function firstRun({ bytes, args }: Interpreter): Promise<number> {
  await using harness = await PoolHarness.open({ slots: 1, spares: 1, baselineSpares: 1 });
  // The last to start on a worker. It would be measured too.
  const isUp = () => harness.pool.stats().runners.some(({ tier, state }) => tier === "baseline" && state === "idle");
  while (!isUp()) await sleep(20);
  const spec = await harness.spec(bytes, { args, memoryBytes: MEMORY_PAGES * 65_536 });
  const startedAt = performance.now();
  const { outcome } = await harness.pool.run(spec, { async write() {} }, { signal: new AbortController().signal });
  const elapsedMs = performance.now() - startedAt;
  if (outcome.kind !== "exited" || outcome.code !== 0) throw new Error(JSON.stringify(outcome));
  return elapsedMs;
}

async function bothRuns({ bytes, args }: Interpreter, tier: RunnerTier): Promise<{ first: number; later: number }> {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-tiers-"));
  const path = join(folder, "interpreter.wasm");
  await writeFile(path, bytes);
  const sandbox = await Sandbox.open({ scratchFolder: folder, log: silentLog });
  const runner = new RunnerProcess(await sandbox.openCell(RUNNER_CELL), tier);
  try {
    await runner.ready;
    const { memoryExport, startExport } = operateOnModule(bytes, MEMORY_PAGES);
    const loadParts = async () => ({
      cores: [operateOnModule(await readFile(path), MEMORY_PAGES).chunks],
      glue: undefined,
    });
    const once = async (): Promise<number> => {
      const startedAt = performance.now();
      const verdict = await runner.run({
        moduleKey: "interpreter",
        loadParts,
        order: {
          entry: { kind: "command", memoryExport, startExport },
          args,
          env: {},
          outputBytesMax: 1_000,
          outputLimit: "truncate",
          keepsFiles: false,
        },
        stdin: new Uint8Array(0),
        files: [],
        io: { async write() {} },
      });
      if (verdict.kind !== "reported") throw new Error(verdict.reason);
      return performance.now() - startedAt;
    };
    return { first: await once(), later: await once() };
  } finally {
    runner.kill();
    await runner.ended;
    await rm(folder, { recursive: true });
  }
}
