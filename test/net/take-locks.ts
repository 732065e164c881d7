/** Takes `<folder>/0`, `<folder>/1`, … , each at the same moment as the other threads that do; answers which it got. */
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { FileLock } from "../../src/net/file-lock.ts";

const { folder, rounds, threads, arrivals } = workerData as {
  folder: string;
  rounds: number;
  threads: number;
  arrivals: Int32Array;
};
const held: FileLock[] = [];
const won: number[] = [];
for (let round = 0; round < rounds; round++) {
  Atomics.add(arrivals, round, 1);
  // Not by a wait, after which they would not be awake at the same moment.
  while (Atomics.load(arrivals, round) < threads);
  const lock = await FileLock.take(join(folder, String(round)));
  if (lock === undefined) continue;
  held.push(lock);
  won.push(round);
}
parentPort?.postMessage(won);
// Held until all have answered: the thread is ended.
await new Promise(() => setInterval(() => held.length, 1_000));
