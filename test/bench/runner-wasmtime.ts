/**
 * The same guests under `wasmtime`, where it is installed: whole processes, with nothing compiled beforehand, by time on
 * the wall, the best of several rounds. They are no targets: a runner of ours is up before its guest comes.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { guestBytes } from "../support/guests.ts";
import type { Figure } from "./measure.ts";
import type { Interpreter } from "./runner-interpreter.ts";

const run = promisify(execFile);
const ROUNDS = 5;

/** None, and a word why, where there is no `wasmtime`. */
export async function benchWasmtime(
  interpreter: Interpreter,
  puzzle: { readonly difficulty: number; readonly answer: string },
): Promise<Figure[]> {
  if (spawnSync("wasmtime", ["--version"]).status !== 0) {
    console.warn("bench: there is no wasmtime to hold the guests against");
    return [];
  }
  const folder = await mkdtemp(join(tmpdir(), "capmesh-wasmtime-"));
  try {
    const modules = { hash: join(folder, "hash.wasm"), interpreter: join(folder, "interpreter.wasm") };
    await writeFile(modules.hash, guestBytes("hash"));
    await writeFile(modules.interpreter, interpreter.bytes);
    const puzzleMs = await bestMs(
      ["run", "--invoke", "run", modules.hash, "0", String(puzzle.difficulty)],
      (stdout) => {
        if (stdout.trim() !== puzzle.answer) throw new Error(`under wasmtime the puzzle's answer is ${stdout}`);
      },
    );
    const interpreterMs = await bestMs(["run", modules.interpreter, ...interpreter.args]);
    return [
      { name: `hash puzzle ${puzzle.difficulty}, wasmtime, whole process`, unit: "ms", value: puzzleMs },
      { name: `${interpreter.name}: wasmtime, whole process`, unit: "ms", value: interpreterMs },
    ];
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** With none of what an earlier process has compiled. */
async function bestMs(args: readonly string[], check: (stdout: string) => void = () => {}): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedAt = performance.now();
    const { stdout } = await run("wasmtime", [...args]);
    times.push(performance.now() - startedAt);
    check(stdout);
  }
  return Math.min(...times);
}
