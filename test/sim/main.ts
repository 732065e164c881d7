/**
 * Runs simulations from the command line.
 *
 *     npm run sim                   10,000 seeds, on all cores
 *     npm run sim -- 500            so many
 *     npm run sim -- --from 20001   beginning with this one
 *     npm run sim -- --seed 42      one, with all that happened and what was logged
 *
 * Prints each seed that breaks a promise, with what it breaks; the exit code is then 1. Prints, too, how often each promise
 * could have been seen broken: a check that has nothing to look at finds nothing.
 */
import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { replay } from "./replay.ts";
import { simulate } from "./simulate.ts";
import { type Look, Tally } from "./tally.ts";

const SEEDS_DEFAULT = 10_000;
/** Seeds that a process is given at a time. */
const BATCH = 50;

interface Batch {
  readonly first: number;
  readonly count: number;
}

interface BatchResult {
  readonly broken: readonly { readonly seed: number; readonly breaches: readonly string[] }[];
  /** How often each promise could have been seen broken. */
  readonly looks: readonly (readonly [Look, number])[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string" }, from: { type: "string" } },
});

if (process.send !== undefined) serve();
else if (values.seed !== undefined) await replayOne(Number(values.seed));
else await runMany(Number(values.from ?? 1), Number(positionals[0] ?? SEEDS_DEFAULT));

async function replayOne(seed: number): Promise<void> {
  const { lines, breaches } = await replay(seed);
  for (const line of lines) console.log(line);
  console.log(`seed ${seed}: ${breaches.length === 0 ? "no promise broken" : `${breaches.length} breaches`}`);
  process.exitCode = breaches.length === 0 ? 0 : 1;
}

/** A process of its own for each core: they share nothing. */
async function runMany(first: number, count: number): Promise<void> {
  const startedMs = performance.now();
  let next = first;
  let done = 0;
  let failures = 0;
  const tally = new Tally();
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const child = fork(new URL(import.meta.url));
      let current: Batch | undefined;
      const giveNext = (): void => {
        if (next >= first + count) {
          child.disconnect();
          return;
        }
        current = { first: next, count: Math.min(BATCH, first + count - next) };
        next += current.count;
        child.send(current);
      };
      child.on("message", (result: BatchResult) => {
        done += current?.count ?? 0;
        tally.add({ looks: new Map(result.looks) });
        for (const { seed, breaches } of result.broken) {
          failures += 1;
          console.log(`seed ${seed}: npm run sim -- --seed ${seed}\n  ${breaches.join("\n  ")}`);
        }
        if (done % 1_000 < BATCH) console.error(`${done} of ${count} seeds, ${failures} broken`);
        giveNext();
      });
      child.on("error", reject);
      child.on("exit", (code) =>
        code === 0 ? resolve() : reject(new Error(`died within ${JSON.stringify(current)}`)),
      );
      giveNext();
    });
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  console.log(`how often each promise could have been seen broken:\n${tally.lines().join("\n")}`);
  const seconds = (performance.now() - startedMs) / 1_000;
  console.log(`${count} seeds in ${seconds.toFixed(1)} s, ${failures} broke a promise`);
  for (const seldom of tally.tooSeldom(count)) console.log(`hardly ever looked at: ${seldom}`);
  process.exitCode = failures === 0 && tally.tooSeldom(count).length === 0 ? 0 : 1;
}

/** In a process of its own: simulates what it is sent. */
function serve(): void {
  process.on("message", (batch: Batch) => {
    void runBatch(batch).then((result) => process.send?.(result));
  });
}

async function runBatch({ first, count }: Batch): Promise<BatchResult> {
  const broken: BatchResult["broken"][number][] = [];
  const all = new Tally();
  for (let seed = first; seed < first + count; seed += 1) {
    const { breaches, tally } = await simulate(seed);
    all.add(tally);
    if (breaches.length > 0) broken.push({ seed, breaches });
  }
  return { broken, looks: [...all.looks] };
}
