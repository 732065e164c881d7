/**
 * A process that writes to a store, and to a blob store beside it, as fast as it can until it is killed, and says on its
 * standard output what they have acknowledged: one line each, written before the next operation begins. Started by the
 * crash test with the database's path and the round's number.
 */
import { writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, attemptOf, bytesOf, taskSpec } from "./store-samples.ts";

const WRITERS = 8;

const [path = "", round = ""] = process.argv.slice(2);
const store = await SqliteStore.open({ path, log: silentLog });
const blobs = await FileBlobStore.open(join(dirname(path), "blobs"));
writeSync(1, "open\n");

/** Longer than one write, of its own for each task. */
async function storeBlob(id: string): Promise<string> {
  await using writer = await blobs.create();
  for (let part = 0; part < 3; part += 1) await writer.write(bytesOf(`${id} ${part}\n`.repeat(1_000)));
  const { digest } = await writer.finish();
  await writer.commit();
  return digest;
}

async function write(writer: number): Promise<never> {
  for (let index = 0; ; index += 1) {
    const id = `r${round}-w${writer}-${index}`;
    writeSync(1, `stored ${id} ${await storeBlob(id)}\n`);
    const created = await store.createTask(taskSpec(id), INSPECTION, T0);
    if (created.kind !== "created") throw new Error(`${id} was there`);
    writeSync(1, `created ${id}\n`);
    const attempt = attemptOf(created.task);
    if (!(await store.lease(attempt, WORKER_A, T0, T0 + 1_000))) throw new Error(`${id} was leased`);
    writeSync(1, `leased ${id}\n`);
    await store.appendOutput(attempt, 0, "stdout", bytesOf(id));
    writeSync(1, `appended ${id}\n`);
    const settled = await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    if (settled.kind !== "settled") throw new Error(`${id} was settled`);
    writeSync(1, `settled ${id}\n`);
  }
}

await Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
