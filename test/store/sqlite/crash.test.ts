/** What the store has acknowledged is there after kill -9, and the next process goes on with it. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parseDigest } from "../../../src/base/ids.ts";
import type { BlobStore } from "../../../src/store/blobs.ts";
import { FileBlobStore } from "../../../src/store/file-blobs.ts";
import type { Store } from "../../../src/store/store.ts";
import { T0, WORKER_A, attemptEnd, taskId, textOf } from "../store-samples.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const WORKLOAD = fileURLToPath(new URL("../store-workload.ts", import.meta.url));
const ROUNDS = 5;

test("loses nothing that was acknowledged when it is killed while it writes", { timeout: 240_000 }, async () => {
  await using harness = await SqliteHarness.open();
  await harness.store.close();
  for (let round = 0; round < ROUNDS; round += 1) {
    const said = await writeUntilKilled(harness.path, round, 50 + round * 97);
    await harness.reopen();
    const blobs = await FileBlobStore.open(join(harness.folder, "blobs"));
    for (const line of said) await expectKept(harness.store, blobs, line);
    expect(await readdir(join(harness.folder, "blobs", "unfinished"))).toEqual([]);
    await expectUsable(harness.store);
    await harness.store.close();
  }
});

/** Starts the workload and kills it once it has said `linesMin` lines; all whole lines it said. */
async function writeUntilKilled(path: string, round: number, linesMin: number): Promise<readonly string[]> {
  const child = spawn(process.execPath, [WORKLOAD, path, String(round)], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit").then(() => child.signalCode);
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length === linesMin) child.kill("SIGKILL");
  }
  expect(await exited).toBe("SIGKILL");
  expect(lines.length).toBeGreaterThanOrEqual(linesMin);
  return lines.slice(1);
}

function unknownDigest(line: string): never {
  throw new Error(`no digest: ${line}`);
}

const STATES: Readonly<Record<string, readonly string[]>> = {
  created: ["ready", "running", "succeeded"],
  leased: ["running", "succeeded"],
  appended: ["running", "succeeded"],
  settled: ["succeeded"],
};

async function expectKept(store: Store, blobs: BlobStore, line: string): Promise<void> {
  const [what = "", id = "", digest = ""] = line.split(" ");
  if (what === "stored") {
    await using blob = await blobs.open(parseDigest(digest) ?? unknownDigest(line));
    const bytes = await blob?.read(0, blob.bytes);
    expect(
      createHash("sha256")
        .update(bytes ?? "")
        .digest("hex"),
    ).toBe(digest);
    return;
  }
  const task = await store.getTask(taskId(id));
  expect(STATES[what]).toContain(task?.state);
  if (what !== "appended") return;
  const page = await store.readOutput(taskId(id), 1, { offset: 0, bytesMax: 1_000 });
  expect(page?.chunks.map((chunk) => textOf(chunk.bytes)).join("")).toBe(id);
}

/** Carries on with what was under way. */
async function expectUsable(store: Store): Promise<void> {
  for (const { id } of await store.listRunning()) {
    expect(await store.settle(id, attemptEnd(), { now: T0, backoffJitter: 0 })).toMatchObject({ kind: "settled" });
  }
  for (const run of await store.listReady(T0, 1_000)) {
    const id = { task: run.spec.id, serial: run.serial, run: run.index, attempt: run.nextAttempt };
    expect(await store.lease(id, WORKER_A, T0, T0 + 1_000)).toBe(true);
    expect(await store.settle(id, attemptEnd(), { now: T0, backoffJitter: 0 })).toMatchObject({ kind: "settled" });
  }
  expect((await store.measureQueue()).tasks).toBe(0);
}
