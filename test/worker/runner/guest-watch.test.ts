/** The watch over a guest, whose process is this one. */
import { expect, test } from "vitest";
import { MEMORY_CHECK_EVERY_MS, RUNNER_OVERHEAD_BYTES_MAX } from "../../../src/base/limits.ts";
import { GuestWatch } from "../../../src/worker/runner/guest-watch.ts";
import { readMemoryUse } from "../../../src/worker/runner/memory-use.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const MIB = 1_048_576;
const isLinux = process.platform === "linux";

/** A watch that has looked once, over a guest before which the process had this share of what it has. */
async function looked(idleShare: number) {
  const clock = new ManualClock();
  const kills: string[] = [];
  const use = readMemoryUse(process.pid) ?? { dataBytes: 0, residentBytes: 0, privateBytes: 0 };
  const runner = {
    cpuMs: 0,
    guestPid: process.pid,
    idleUse: () => ({ ...use, residentBytes: use.residentBytes * idleShare }),
    kill: () => void kills.push("killed"),
  };
  // What is left to it is 32 MiB, less than this process has.
  const memory = { capBytes: 32 * MIB - RUNNER_OVERHEAD_BYTES_MAX, isSeveral: false };
  const spec = { timeoutMs: 60_000, cpuMs: 60_000 };
  using watch = new GuestWatch({ runner, spec, signal: new AbortController().signal, clock, memory });
  await clock.run(MEMORY_CHECK_EVERY_MS);
  return { stopped: watch.stopped?.kind, cpuMs: watch.cpuMs, kills };
}

test.runIf(isLinux)(
  "a guest is judged by what its process took since it is there, not by what it had before",
  async () => {
    expect(await looked(1)).toMatchObject({ stopped: undefined, kills: [] });
    expect(await looked(0)).toMatchObject({ stopped: "memory-exceeded", kills: ["killed"] });
  },
);

test.runIf(isLinux)("the CPU time of a guest is known, about, though its process ends without a word", async () => {
  expect((await looked(1)).cpuMs).toBeGreaterThan(0);
});
