/**
 * Runs simulations from the command line.
 *
 *     npm run sim                   10,000 seeds, on all cores
 *     npm run sim -- 500            so many
 *     npm run sim -- --from 20001   beginning with this one
 *     npm run sim -- --seed 42      one, with all that happened and what was logged
 *
 * Prints each seed that breaks a promise, with what it breaks; the exit code is then 1.
 */
import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { simulate } from "./simulate.ts";

const SEEDS_DEFAULT = 10_000;
/** Seeds that a process is given at a time. */
const BATCH = 50;

interface Batch {
  readonly first: number;
  readonly count: number;
}

interface BatchResult {
  readonly broken: readonly { readonly seed: number; readonly breaches: readonly string[] }[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seed: { type: "string" }, from: { type: "string" } },
});

if (process.send !== undefined) serve();
else if (values.seed !== undefined) await replay(Number(values.seed));
else await runMany(Number(values.from ?? 1), Number(positionals[0] ?? SEEDS_DEFAULT));

/** One seed, told in full. */
async function replay(seed: number): Promise<void> {
  const lines: { readonly atMs: number; readonly text: string }[] = [];
  const { history, breaches } = await simulate(seed, {
    onLog: (text) => lines.push({ atMs: Number(text.split(" ", 1)[0]), text: `log ${text}` }),
  });
  for (const { atMs, ...event } of history.events) {
    lines.push({ atMs, text: `${event.kind} ${atMs.toFixed(2)} ${JSON.stringify({ ...event, kind: undefined })}` });
  }
  for (const { text } of lines.toSorted((a, b) => a.atMs - b.atMs)) console.log(text);
  for (const breach of breaches) console.log(`BROKEN ${breach}`);
  console.log(`seed ${seed}: ${breaches.length === 0 ? "no promise broken" : `${breaches.length} breaches`}`);
  process.exitCode = breaches.length === 0 ? 0 : 1;
}

/** A process of its own for each core: they share nothing. */
async function runMany(first: number, count: number): Promise<void> {
  const startedMs = performance.now();
  let next = first;
  let done = 0;
  let failures = 0;
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
  const seconds = (performance.now() - startedMs) / 1_000;
  console.log(`${count} seeds in ${seconds.toFixed(1)} s, ${failures} broke a promise`);
  process.exitCode = failures === 0 ? 0 : 1;
}

/** In a process of its own: simulates what it is sent. */
function serve(): void {
  process.on("message", (batch: Batch) => {
    void runBatch(batch).then((result) => process.send?.(result));
  });
}

async function runBatch({ first, count }: Batch): Promise<BatchResult> {
  const broken: BatchResult["broken"][number][] = [];
  for (let seed = first; seed < first + count; seed += 1) {
    const { breaches } = await simulate(seed);
    if (breaches.length > 0) broken.push({ seed, breaches });
  }
  return { broken };
}
