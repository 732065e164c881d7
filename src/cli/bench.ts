/**
 * `capmesh bench`: how fast a running gateway and its workers are, as a client sees it. Three measures, each of a bounded
 * number of tasks: how long a submission takes until it is durable, how long until the first output of a task comes back,
 * and how many runs end a second. It removes its tasks, whatever happens; output of other tasks is not touched.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError } from "commander";
import type { TaskJson } from "../api/task-json.ts";
import type { CapmeshClient } from "../client/client.ts";
import type { SubmitFields } from "../client/submit-form.ts";
import { CLIENT_SETTINGS, type CommandContext, contextOf, defineSettings } from "./command-context.ts";
import { InterruptedError } from "./exit-code.ts";
import { LiveView, progressBar } from "./live-view.ts";

const MODULE = fileURLToPath(new URL("../../wasm-tasks/hello/hello.wasm", import.meta.url));
const TASKS_DEFAULT = 50;
const TASKS_MAX = 5_000;
/** Rounds of the throughput measure; each has all its runs in one task, due at once. */
const ROUNDS = 3;
const REMOVALS_AT_ONCE = 8;
const BAR_WIDTH = 24;
const NS_PER_MS = 1e6;

const HELP = `
Measures, of each the least, the median and the greatest value:
  submit        ms from the POST of a task whose module is there to its 201
  first output  ms from the POST of a task to the first of its output
  throughput    runs a second, of ${ROUNDS} tasks with <n> runs that are due at once

The last two need a worker. The tasks are removed in the end; those of others
are left alone and compete for slots, so measure on an idle cluster.`;

interface BenchOptions {
  readonly n: number;
}

export function defineBench(program: Command): void {
  const command = program
    .command("bench")
    .description("measure a running gateway and its workers")
    .option("-n, --n <n>", `tasks of each measure, at most ${TASKS_MAX}`, parseCount, TASKS_DEFAULT)
    .addHelpText("after", HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async ({ n }: BenchOptions) => {
    await bench(contextOf(command), n);
  });
}

/** Milliseconds, or runs a second. */
interface Summary {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

interface BenchResult {
  readonly gateway: string;
  readonly slots: number;
  readonly submitMs: Summary;
  /** Null: there was no worker. */
  readonly firstOutputMs: Summary | null;
  readonly runsPerSecond: Summary | null;
}

async function bench(context: CommandContext, n: number): Promise<void> {
  const { client, output, config } = context;
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new InterruptedError("interrupted; the tasks of bench are removed"));
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  const view = new LiveView({
    write: (text) => process.stderr.write(text),
    isTerminal: output.isStderrTerminal && !output.isJson,
    width: () => output.stderrWidth,
  });
  const workers = await client.workers({ signal: interrupted.signal });
  const slots = workers.reduce((sum, worker) => sum + (worker.status === "ready" ? worker.slots : 0), 0);
  await using run = new BenchRun({ client, view, signal: interrupted.signal });
  await run.warmUp(slots > 0);
  const submitMs = await run.measureSubmit(n);
  const firstOutputMs = slots > 0 ? await run.measureFirstOutput(n) : null;
  const runsPerSecond = slots > 0 ? await run.measureThroughput(n) : null;
  view.clear();
  const result: BenchResult = { gateway: config.url, slots, submitMs, firstOutputMs, runsPerSecond };
  if (output.isJson) output.json(result);
  else report(context, result);
}

function report({ output }: CommandContext, { gateway, slots, ...measures }: BenchResult): void {
  output.say(`${gateway}, ${slots} slots`);
  const rows = [
    { name: "submit, ms", summary: measures.submitMs },
    { name: "first output, ms", summary: measures.firstOutputMs },
    { name: "throughput, runs/s", summary: measures.runsPerSecond },
  ];
  const text = (value: number | undefined): string => (value === undefined ? "-" : value.toFixed(value < 100 ? 1 : 0));
  output.table(
    [
      { heading: "MEASURE", value: ({ name }) => name },
      { heading: "MIN", value: ({ summary }) => text(summary?.min) },
      { heading: "MEDIAN", value: ({ summary }) => text(summary?.median) },
      { heading: "MAX", value: ({ summary }) => text(summary?.max) },
      { heading: "OF", value: ({ summary }) => String(summary?.count ?? "-") },
    ],
    rows,
    "",
  );
  if (slots === 0) output.say("no worker is ready: what needs one was not measured");
}

interface BenchRunInit {
  readonly client: CapmeshClient;
  readonly view: LiveView;
  readonly signal: AbortSignal;
}

/** Owns the tasks that it submits: disposing it removes them. */
class BenchRun implements AsyncDisposable {
  readonly #client: CapmeshClient;
  readonly #view: LiveView;
  readonly #signal: AbortSignal;
  readonly #ids = new Set<string>();
  #module: string | null = null;

  constructor({ client, view, signal }: BenchRunInit) {
    this.#client = client;
    this.#view = view;
    this.#signal = signal;
  }

  /** Brings the module to the gateway and, where they are, to workers: what happens once is not what is measured. */
  async warmUp(hasWorker: boolean): Promise<void> {
    const task = await this.#submit(hasWorker ? {} : { start: "1h" }, new Uint8Array(await readFile(MODULE)));
    this.#module = task.module;
    if (hasWorker) await this.#client.waitForTask(task.id, { signal: this.#signal });
  }

  async measureSubmit(n: number): Promise<Summary> {
    return this.#each("submit", n, async () => {
      const startedAt = process.hrtime.bigint();
      // Due when nobody waits for it any more.
      await this.#submit({ start: "1h" });
      return msSince(startedAt);
    });
  }

  async measureFirstOutput(n: number): Promise<Summary> {
    return this.#each("first output", n, async () => {
      const startedAt = process.hrtime.bigint();
      const task = await this.#submit({});
      for await (const _ of this.#client.logs(task.id, { run: "all", follow: true, signal: this.#signal })) break;
      const took = msSince(startedAt);
      await this.#client.waitForTask(task.id, { signal: this.#signal });
      return took;
    });
  }

  async measureThroughput(n: number): Promise<Summary> {
    return this.#each("throughput", ROUNDS, async () => {
      const startedAt = process.hrtime.bigint();
      const task = await this.#submit({ repeats: n });
      await this.#client.waitForTask(task.id, { signal: this.#signal });
      return (n * 1_000) / msSince(startedAt);
    });
  }

  async #each(name: string, times: number, measure: () => Promise<number>): Promise<Summary> {
    const values: number[] = [];
    for (let at = 0; at < times; at++) {
      this.#view.update([`${name.padEnd(12)}  ${progressBar(at / times, BAR_WIDTH)}`]);
      values.push(await measure());
    }
    return summaryOf(values);
  }

  async #submit(fields: SubmitFields, wasm?: Uint8Array<ArrayBuffer>): Promise<TaskJson> {
    this.#signal.throwIfAborted();
    // Not aborted: a task whose id is not known could not be removed.
    const task = await this.#client.submit({
      description: "capmesh bench",
      ...(wasm === undefined ? { module: this.#module } : { wasm }),
      ...fields,
    });
    this.#ids.add(task.id);
    return task;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#view.update(["removing the tasks…"]);
    const left = [...this.#ids];
    const remove = async (): Promise<void> => {
      for (let id = left.pop(); id !== undefined; id = left.pop()) await this.#client.delete(id);
    };
    await Promise.all(Array.from({ length: REMOVALS_AT_ONCE }, remove));
    this.#view.clear();
  }
}

function msSince(startedAt: bigint): number {
  return Number(process.hrtime.bigint() - startedAt) / NS_PER_MS;
}

function summaryOf(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const at = (index: number): number => Math.round((sorted[index] ?? 0) * 100) / 100;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { count: sorted.length, min: at(0), median: Math.round(median * 100) / 100, max: at(sorted.length - 1) };
}

function parseCount(text: string): number {
  const value = Number(text);
  if (!/^[1-9]\d*$/.test(text) || value > TASKS_MAX) {
    throw new InvalidArgumentError(`A whole number from 1 to ${TASKS_MAX} is expected.`);
  }
  return value;
}
