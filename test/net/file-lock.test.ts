import { once } from "node:events";
import { chmod, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { FileLock } from "../../src/net/file-lock.ts";
import { temporaryFolder } from "./host-harness.ts";

test("its file is its owner's alone, since whoever can read it can hold it", async () => {
  await using folder = await temporaryFolder();
  const before = process.umask(0);
  try {
    using _lock = await FileLock.take(join(folder.path, "new"));
  } finally {
    process.umask(before);
  }
  await writeFile(join(folder.path, "old"), "");
  await chmod(join(folder.path, "old"), 0o644);
  using _lock = await FileLock.take(join(folder.path, "old"));
  const modes = ["new", "old"].map(async (name) => (await stat(join(folder.path, name))).mode & 0o777);
  expect(await Promise.all(modes)).toEqual([0o600, 0o600]);
});

test("of those that take it at once exactly one has it", async () => {
  await using folder = await temporaryFolder();
  const rounds = 10;
  const threads = 2;
  const arrivals = new Int32Array(new SharedArrayBuffer(4 * rounds));
  const workers = Array.from(
    { length: threads },
    () =>
      new Worker(new URL("./take-locks.ts", import.meta.url), {
        workerData: { folder: folder.path, rounds, threads, arrivals },
        execArgv: [],
      }),
  );
  try {
    const answers: unknown[] = await Promise.all(workers.map((worker) => once(worker, "message")));
    const winners = answers.flat(2).toSorted((one, other) => Number(one) - Number(other));
    expect(winners).toEqual(Array.from({ length: rounds }, (_, round) => round));
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
});
