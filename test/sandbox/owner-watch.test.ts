import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { OWNER_WATCH_RESTART_FIRST_MS, OWNER_WATCH_RESTART_MAX_MS } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { OwnerWatch } from "../../src/sandbox/owner-watch.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** Kills the shell and waits until that is known. */
async function killShell(watch: OwnerWatch, clock: ManualClock): Promise<void> {
  const { pid } = watch;
  if (pid === undefined) throw new Error("nobody watches");
  process.kill(pid, "SIGKILL");
  await untilRestartIsDue(clock);
}

const untilRestartIsDue = (clock: ManualClock): Promise<boolean> =>
  vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });

describe("a watch whose shell was killed", () => {
  test("has another, after a wait", async () => {
    const clock = new ManualClock();
    const watch = new OwnerWatch({ clock, log: silentLog });
    const first = watch.pid;
    await killShell(watch, clock);
    expect(watch.pid).toBeUndefined();
    clock.advance(OWNER_WATCH_RESTART_FIRST_MS);
    expect(watch.pid).not.toBe(first);
    expect(watch.pid).toBeGreaterThan(0);
    await watch.close();
  });

  test("waits longer each time, and shortly again after one that lived", async () => {
    const clock = new ManualClock();
    const watch = new OwnerWatch({ clock, log: silentLog });
    const waits: (number | undefined)[] = [];
    for (let round = 0; round < 4; round++) {
      if (round === 3) clock.advance(OWNER_WATCH_RESTART_MAX_MS);
      await killShell(watch, clock);
      waits.push(clock.nextTimerInMs);
      clock.advance(clock.nextTimerInMs ?? 0);
    }
    const firstMs = OWNER_WATCH_RESTART_FIRST_MS;
    expect(waits).toEqual([firstMs, 2 * firstMs, 4 * firstMs, firstMs]);
    await watch.close();
  });

  test("still ends the runners that it had been told of", async () => {
    const clock = new ManualClock();
    const watch = new OwnerWatch({ clock, log: silentLog });
    const runner = spawn("/bin/sleep", ["1000"], { stdio: "ignore" });
    const ended = once(runner, "exit");
    watch.add(runner.pid ?? 0);
    await killShell(watch, clock);
    clock.advance(OWNER_WATCH_RESTART_FIRST_MS);
    await watch.close();
    expect(await ended).toEqual([null, "SIGKILL"]);
  });

  test("starts none once it is closed", async () => {
    const clock = new ManualClock();
    const watch = new OwnerWatch({ clock, log: silentLog });
    await killShell(watch, clock);
    await watch.close();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("a watch whose shell cannot be started", () => {
  test("may be closed before that is known", async () => {
    const clock = new ManualClock();
    const watch = new OwnerWatch({ clock, log: silentLog, shell: "/nowhere/at/all" });
    await watch.close();
    expect(clock.pendingTimers).toBe(0);
  });

  test("tries again until it can", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-watch-"));
    try {
      const clock = new ManualClock();
      const shell = join(folder, "sh");
      const watch = new OwnerWatch({ clock, log: silentLog, shell });
      await untilRestartIsDue(clock);
      clock.advance(OWNER_WATCH_RESTART_FIRST_MS);
      await untilRestartIsDue(clock);
      expect(watch.pid).toBeUndefined();
      await symlink("/bin/sh", shell);
      clock.advance(2 * OWNER_WATCH_RESTART_FIRST_MS);
      expect(watch.pid).toBeGreaterThan(0);
      await watch.close();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
