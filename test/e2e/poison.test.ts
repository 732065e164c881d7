/** Runs that take their runner or their whole worker down, with real processes: what is held against them, and not against others. */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { RunJson } from "../../src/api/run-json.ts";
import { LOST_ATTEMPTS_MAX } from "../../src/base/limits.ts";
import type { CapmeshClient } from "../../src/client/client.ts";
import { descendants } from "../support/process-table.ts";
import { type CapmeshProcess, Cluster, eventually, guestPath } from "../support/processes.ts";

const MINUTES = 60_000;
const hello = await readFile(guestPath("hello"));
/** By this much memory the runner of this guest is told from others. */
const GROWN_MIB = 150;
/** The attempt that is left alone, and fails by itself. */
const LEFT_ALONE = 2;
const WORKER_KILLED_IN: readonly number[] = [3, 5];

test.runIf(process.platform === "linux")(
  "a run that takes runners and workers down is poisoned, its own failures counted apart; the worker and its other runs go on",
  { timeout: 4 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const { ready, client } = await cluster.gateway();
    const start = () => cluster.worker(ready.peerId, ["--data", `${cluster.folder}/worker`, "--slots", "3"]);
    let worker = start();
    await worker.ready;
    await client.submit({ id: "ticks", wasm: hello, repeats: 10, delay: 0.3 });
    const args = ["--grow", String(GROWN_MIB), "--sleep", "2000", "--exit", "3"];
    // Another retry or two, should a runner not be found in time.
    await client.submit({ id: "poison", wasm: hello, args, retries: 3, backoff: "10ms" });

    for (let number = await nextAttempt(client, 0); number > 0; number = await nextAttempt(client, number)) {
      if (number === LEFT_ALONE) continue;
      const id = `beside-${number}`;
      await client.submit({ id, wasm: hello, args: ["--sleep", "1000"] });
      await eventually(async () => ((await client.getTask(id)).state === "running" ? true : undefined));
      if (!WORKER_KILLED_IN.includes(number)) await killRunner(worker);
      else {
        worker.kill("SIGKILL");
        await worker.exited;
        worker = start();
        await worker.ready;
      }
    }

    expect(await client.getTask("poison")).toMatchObject({ state: "failed", reason: "poisoned" });
    const run = await client.getRun("poison", 1);
    expect(run.outcome).toEqual({ kind: "lost", reason: "poisoned" });
    expect(statesOf(run).filter((state) => state === "lost")).toHaveLength(LOST_ATTEMPTS_MAX);
    expect(run.attempts[LEFT_ALONE - 1]).toMatchObject({ state: "failed", outcome: { kind: "exited", code: 3 } });
    expect(await client.waitForTask("ticks")).toMatchObject({ state: "succeeded", completions: 10 });
    // Its worker's end was nobody's business but the run's that caused it, as far as that can be told.
    expect(await client.waitForTask("beside-1")).toMatchObject({ state: "succeeded" });
    expect(statesOf(await client.getRun("beside-1", 1))).toEqual(["succeeded"]);
    const [hit] = WORKER_KILLED_IN;
    expect(await client.waitForTask(`beside-${hit}`)).toMatchObject({ state: "succeeded" });
    expect(statesOf(await client.getRun(`beside-${hit}`, 1))[0]).toBe("lost");
    expect(await client.workers()).toMatchObject([{ status: "ready" }]);
  },
);

/** The next one that runs; 0 when the run is over. */
async function nextAttempt(client: CapmeshClient, after: number): Promise<number> {
  return eventually(async () => {
    const { state, attempts } = await client.getRun("poison", 1);
    if (state === "failed") return 0;
    return attempts.find((each) => each.number > after && each.state === "running")?.number;
  });
}

function statesOf(run: RunJson): readonly string[] {
  return run.attempts.map(({ state }) => state);
}

/** Ends the process of the guest that has grown. */
async function killRunner(worker: CapmeshProcess): Promise<void> {
  const pid = await eventually(async () => {
    const [first, second] = descendants(worker.child.pid ?? 0)
      .map((each) => ({ pid: each, writableMib: writableMib(each) }))
      .toSorted((a, b) => b.writableMib - a.writableMib);
    if (first === undefined || second === undefined) return undefined;
    return first.writableMib - second.writableMib > GROWN_MIB / 2 ? first.pid : undefined;
  });
  process.kill(pid, "SIGKILL");
}

/** Of a process that has gone: 0. */
function writableMib(pid: number): number {
  try {
    const [, kib] = /^VmData:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib ?? 0) / 1_024;
  } catch {
    return 0;
  }
}
