/** A program that opens a pool, runs a guest that never ends, and says which processes there are. Killed by its test. */
import { systemClock } from "../../../src/base/system-clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { RunnerPool } from "../../../src/worker/runner/runner-pool.ts";
import { digestOf } from "./pool-harness.ts";
import { readFileSync } from "node:fs";

const [scratchFolder = "", modulePath = ""] = process.argv.slice(2);
const pool = await RunnerPool.open({
  slots: 1,
  spares: 1,
  baselineSpares: 0,
  scratchFolder,
  clock: systemClock,
  log: silentLog,
});
const running = pool.run(
  {
    modulePath,
    digest: digestOf(readFileSync(modulePath)),
    entry: { kind: "command" },
    args: [],
    env: {},
    stdin: new Uint8Array(0),
    timeoutMs: 600_000,
    cpuMs: 600_000,
    memoryBytes: 1_048_576,
    outputBytesMax: 1_024,
    outputLimit: "truncate",
    submitter: "local",
    files: [],
    outputs: [],
  },
  {
    async write() {
      // The guest runs, and spins from here on.
      const pids = new Set(pool.stats().runners.flatMap(({ pid, guestPid }) => [pid, guestPid]));
      process.stdout.write(`${JSON.stringify([...pids])}\n`);
    },
  },
  { signal: new AbortController().signal },
);
await running;
