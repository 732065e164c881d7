/** What a runner process is to the sandbox: its code, its limits, and the options of its engine. */
import type { ChildProcess } from "node:child_process";
import {
  RUNNER_DATA_BYTES_MAX,
  RUNNER_DESCRIPTORS_MAX,
  RUNNER_HEAP_MIB_MAX,
  WASM_MEMORY_PAGES_MAX,
  WASM_TABLE_ENTRIES_MAX,
} from "../../base/limits.ts";
import type { Cell, CellPlan } from "../../sandbox/cell.ts";

/** `optimized`: hot loops reach full speed on the first call, and compiling costs more; see `SMALL_CODE_BYTES_MAX`. */
export type RunnerTier = "optimized" | "baseline";

export const RUNNER_CELL: CellPlan = { entry: "worker/runner/child/main" };

/**
 * Starts a process, with pipes for what it says on stderr (2), orders (3) and replies (4). Throws where that fails at
 * once: without a descriptor left, or a process.
 */
export function spawnRunner(cell: Cell, tier: RunnerTier): ChildProcess {
  return cell.spawn({
    flags: runnerFlags(tier),
    args: [],
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
    limits: { dataBytes: RUNNER_DATA_BYTES_MAX, descriptors: RUNNER_DESCRIPTORS_MAX },
  });
}

/** The sandbox, as far as flags make it. Whatever else a process could do is dropped inside, by `dropPowers`. */
function runnerFlags(tier: RunnerTier): string[] {
  return [
    "--disallow-code-generation-from-strings",
    "--no-addons",
    "--unhandled-rejections=none",
    "--no-warnings",
    `--wasm-max-table-size=${WASM_TABLE_ENTRIES_MAX}`,
    `--wasm-max-mem-pages=${WASM_MEMORY_PAGES_MAX}`,
    `--max-old-space-size=${RUNNER_HEAP_MIB_MAX}`,
    ...(tier === "optimized" ? ["--no-liftoff"] : []),
  ];
}
