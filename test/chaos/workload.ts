/** The tasks that are submitted while everything goes wrong, and what has to have come of each in the end. */
import type { RunJson } from "../../src/api/run-json.ts";
import type { TaskJson } from "../../src/api/task-json.ts";
import type { CapmeshClient } from "../../src/client/client.ts";
import type { SubmitFields } from "../../src/client/submit-form.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import vectors from "../wasm-tasks/vectors/hash-puzzle.json" with { type: "json" };

export interface Workload {
  readonly fields: SubmitFields & { readonly id: string };
  readonly runs: number;
  /** What every run has to say. */
  readonly value?: string | undefined;
  readonly stdout?: string | undefined;
}

export interface Guests {
  readonly hash: Uint8Array<ArrayBuffer>;
  readonly hello: Uint8Array<ArrayBuffer>;
}

type Maker = (id: string, random: SeededRandom, guests: Guests, earlier: readonly Workload[]) => Workload;

/** Long enough to be hit, short enough not to be hit again and again: five losses are poison. */
const SLEEP_MS_MAX = 1_000;
const SPAM_LINE = `${".".repeat(63)}\n`;

const puzzles = vectors.cases.filter(({ difficulty }) => difficulty <= 3);

const once: Maker = (id, random, { hash }) => ({ ...puzzle(random, { id, wasm: hash }), runs: 1 });

const repeated: Maker = (id, random, { hash }) => {
  const repeats = 2 + pick(random, 5);
  return { ...puzzle(random, { id, wasm: hash, repeats, delay: pick(random, 2) / 2 }), runs: repeats };
};

const cron: Maker = (id, random, { hash }) => {
  const repeats = 2 + pick(random, 2);
  return { ...puzzle(random, { id, wasm: hash, cron: "* * * * * *", repeats, catchup: "all" }), runs: repeats };
};

/** Goes on after one that was accepted before. */
const chained: Maker = (id, random, guests, earlier) => {
  const before = earlier[pick(random, earlier.length)];
  const { fields, ...rest } = once(id, random, guests, earlier);
  return { ...rest, fields: before === undefined ? fields : { ...fields, after: [before.fields.id] } };
};

/** Sleeps between two pieces of output, each of which has to arrive once. */
const talking: Maker = (id, random, { hello }) => {
  const lines = 1 + pick(random, 4_000);
  const bytes = String(lines * SPAM_LINE.length);
  const args = ["--sleep", String(pick(random, SLEEP_MS_MAX)), "--spam", bytes];
  const shown = args.map((arg, index) => `arg ${index + 1} ${arg}\n`).join("");
  return {
    fields: { id, wasm: hello, args },
    runs: 1,
    stdout: `hello from a guest\n${shown}${SPAM_LINE.repeat(lines)}`,
  };
};

const MAKERS: readonly Maker[] = [once, repeated, cron, chained, talking, talking];

export function makeWorkload(
  number: number,
  random: SeededRandom,
  guests: Guests,
  earlier: readonly Workload[],
): Workload {
  // The first ones are one of each kind, however short the test.
  const maker = MAKERS[number - 1] ?? MAKERS[pick(random, MAKERS.length)] ?? once;
  return maker(`chaos-${number}`, random, guests, earlier);
}

/** What is wrong with a task that is over; empty: nothing. */
export async function verify(client: CapmeshClient, work: Workload): Promise<readonly string[]> {
  const { id } = work.fields;
  const task = await client.getTask(id);
  const runs = await Array.fromAsync(client.listRuns(id));
  const wrong = [...checkTask(task, work), ...runs.flatMap((run) => checkRun(run, work))];
  if (runs.length !== work.runs) wrong.push(`${runs.length} runs, not ${work.runs}`);
  if (work.stdout !== undefined && runs[0]?.attempts.length === 1) {
    // Tried once: its whole log is that attempt's, whichever gateways it went to.
    const log = Buffer.from(await client.rawLog(id, { stream: "stdout" })).toString();
    if (log !== work.stdout) wrong.push(`its log has ${log.length} bytes, not the right ${work.stdout.length}`);
  }
  return wrong.map((what) => `${id}: ${what}`);
}

function checkTask(task: TaskJson, work: Workload): string[] {
  const wrong: string[] = [];
  if (task.state !== "succeeded") wrong.push(`it has ${task.state}: ${task.reason ?? "no reason"}`);
  if (task.completions !== work.runs) wrong.push(`completed ${task.completions} times, not ${work.runs}`);
  return wrong;
}

function checkRun(run: RunJson, work: Workload): string[] {
  const wrong: string[] = [];
  const settled = run.attempts.filter(({ state }) => state !== "lost");
  if (settled.length !== 1 || run.attempts.at(-1)?.state !== "succeeded") {
    wrong.push(`run ${run.index} has attempts ${run.attempts.map(({ state }) => state).join(", ")}`);
  }
  if (work.value !== undefined && run.result?.value !== work.value) {
    wrong.push(`run ${run.index} gave ${run.result?.value}, not ${work.value}`);
  }
  // A result has the head of long output.
  const { stdout } = run.result ?? {};
  if (work.stdout !== undefined && (stdout === undefined || stdout === "" || !work.stdout.startsWith(stdout))) {
    wrong.push(`run ${run.index} said something else`);
  }
  return wrong;
}

function puzzle(random: SeededRandom, fields: Workload["fields"]): Omit<Workload, "runs"> {
  const chosen = puzzles[pick(random, puzzles.length)];
  return {
    fields: { ...fields, input: chosen?.input, difficulty: chosen?.difficulty },
    value: chosen?.result,
  };
}

/** A whole number below `count`. */
export function pick(random: SeededRandom, count: number): number {
  return Math.floor(random.next() * count);
}
