/**
 * `capmesh demo`: a gateway and two workers as three processes, and the hash puzzle of the README on them, three times on
 * a schedule. It shows who runs what, checks the results, and leaves nothing behind.
 */
import { openAsBlob } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import type { RunJson } from "../api/run-json.ts";
import { TASK_END_STATES } from "./words.ts";
import type { TaskJson } from "../api/task-json.ts";
import type { WorkerJson } from "../api/worker-json.ts";
import { CapmeshClient } from "../client/client.ts";
import { type DemoProcess, DemoProcesses } from "./demo-processes.ts";
import { EXIT, InterruptedError } from "./exit-code.ts";
import { LiveView, progressBar } from "./live-view.ts";
import { Output } from "./output.ts";
import { outcomeText, shortPeer } from "./words.ts";

const MODULE = new URL("../../wasm-tasks/hash/hash.wasm", import.meta.url);
/** The smallest counter whose SHA-256 behind "0" begins with three zeros. */
const EXPECTED_VALUE = "2832";
const FIELDS = {
  id: "task1",
  description: "Hash puzzle",
  complete: 0,
  duration: 5,
  start: 1,
  delay: 2,
  repeats: 3,
  input: 0,
  difficulty: 3,
} as const;

const WORKER_NAMES = ["worker-1", "worker-2"] as const;
const LOOK_EVERY_MS = 100;
const WORKERS_MS_MAX = 60_000;
const TASK_MS_MAX = 120_000;
const BAR_WIDTH = 30;

export function defineDemo(program: Command): void {
  program
    .command("demo")
    .description("a gateway and two workers as processes, and the hash puzzle on them")
    .action(async () => {
      process.exitCode = await demo(new Output({ isJson: false, env: process.env }));
    });
}

async function demo(output: Output): Promise<number> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort(new InterruptedError("interrupted; everything is shut down"));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt);
  await using processes = await DemoProcesses.create();
  const { signal } = interrupted;
  try {
    const isRight = await raceSignal(play(output, processes, signal), signal);
    output.line("shutting down…");
    await processes.close();
    output.line(isRight ? "done: all three results are right" : "the results are wrong");
    return isRight ? EXIT.ok : EXIT.taskFailed;
  } catch (thrown) {
    // Whatever a process said when it was ended under our hands, the interruption is why.
    signal.throwIfAborted();
    throw thrown;
  }
}

async function play(output: Output, processes: DemoProcesses, signal: AbortSignal): Promise<boolean> {
  const gateway = await processes.startGateway();
  output.line(`gateway   ${gateway.ready.peerId}  ${gateway.ready.http ?? ""}`);
  const workers = await Promise.all(WORKER_NAMES.map((name) => processes.startWorker(name, gateway.ready.peerId)));
  for (const worker of workers) output.line(`${worker.name}  ${worker.ready.peerId}`);
  const client = new CapmeshClient({ url: gateway.ready.http ?? "" });
  await workersReady(client, workers, signal);
  output.line("both workers have joined\n");
  const submitted = await client.submit({ ...FIELDS, wasm: await openAsBlob(fileURLToPath(MODULE)) }, { signal });
  const fields = Object.entries(FIELDS).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  output.line(`POST /tasks  wasm=hash.wasm ${fields.join(" ")}`);
  const task = await watch(output, client, submitted, workers, signal);
  const runs: RunJson[] = [];
  for await (const run of client.listRuns(task.id, { signal })) runs.push(run);
  printRuns(output, task, runs, workers);
  return task.state === "succeeded" && runs.length === 3 && runs.every((run) => run.result?.value === EXPECTED_VALUE);
}

async function workersReady(
  client: CapmeshClient,
  workers: readonly DemoProcess[],
  signal: AbortSignal,
): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(WORKERS_MS_MAX)]);
  for (;;) {
    const joined = await client.workers({ signal: deadline });
    const ready = new Set(joined.filter(({ status }) => status === "ready").map(({ id }) => id));
    if (workers.every((worker) => ready.has(worker.ready.peerId))) return;
    await sleep(LOOK_EVERY_MS, undefined, { signal: deadline });
  }
}

/** Shows the task and the workers until the task has finished. */
async function watch(
  output: Output,
  client: CapmeshClient,
  submitted: TaskJson,
  names: readonly DemoProcess[],
  signal: AbortSignal,
): Promise<TaskJson> {
  const isTerminal = process.stdout.isTTY;
  const view = new LiveView({
    write: (text) => process.stdout.write(text),
    isTerminal,
    width: () => process.stdout.columns,
  });
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(TASK_MS_MAX)]);
  let said = "";
  for (;;) {
    const options = { signal: deadline };
    const [task, workers] = await Promise.all([client.getTask(submitted.id, options), client.workers(options)]);
    const lines = viewLines(task, workers, names);
    if (isTerminal) view.update(lines);
    else {
      const line = `${task.state}, ${task.completions} of ${task.runs ?? "∞"} runs done, busy: ${busyNames(workers, names)}`;
      if (line !== said) output.line(line);
      said = line;
    }
    if (TASK_END_STATES.has(task.state)) return task;
    await sleep(LOOK_EVERY_MS, undefined, options);
  }
}

function viewLines(task: TaskJson, workers: readonly WorkerJson[], names: readonly DemoProcess[]): readonly string[] {
  const rows = workers.map((worker) => {
    const slots = "●".repeat(worker.busy) + "○".repeat(Math.max(0, worker.slots - worker.busy));
    return `  ${nameOf(worker.id, names)}  ${slots}  ${worker.status}`;
  });
  const bar = progressBar(task.progress, BAR_WIDTH);
  return [`  ${task.id}     ${bar}  ${task.completions}/${task.runs ?? "∞"}  ${task.state}`, ...rows];
}

function busyNames(workers: readonly WorkerJson[], names: readonly DemoProcess[]): string {
  const busy = workers.filter((worker) => worker.busy > 0).map((worker) => nameOf(worker.id, names));
  return busy.length === 0 ? "none" : busy.join(", ");
}

function nameOf(id: string | undefined, names: readonly DemoProcess[]): string {
  return names.find((worker) => worker.ready.peerId === id)?.name ?? shortPeer(id);
}

function printRuns(output: Output, task: TaskJson, runs: readonly RunJson[], names: readonly DemoProcess[]): void {
  output.line("");
  output.table(
    [
      { heading: "RUN", value: (run) => String(run.index) },
      { heading: "WORKER", value: (run) => nameOf(run.attempts.at(-1)?.worker, names) },
      { heading: "STARTED", value: (run) => sinceText(task.createdAt, run.attempts.at(-1)?.startedAt) },
      { heading: "TOOK", value: (run) => (run.usage === null ? "-" : `${Math.round(run.usage.wallMs)} ms`) },
      { heading: "OUTCOME", value: outcomeText },
      {
        heading: "CHECK",
        value: (run) => (run.result?.value === EXPECTED_VALUE ? "right" : `WRONG: not ${EXPECTED_VALUE}`),
      },
    ],
    runs,
    "no runs",
  );
  output.line("");
}

function sinceText(from: string, to: string | undefined): string {
  return to === undefined ? "-" : `+${((Date.parse(to) - Date.parse(from)) / 1_000).toFixed(2)} s`;
}

/** The promise, or the signal's reason as soon as it is aborted. */
async function raceSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  promise.catch(() => {});
  return Promise.race([promise, aborted]);
}
