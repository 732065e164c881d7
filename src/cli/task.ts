/** `capmesh task ls | get | logs | cancel | retry | explain | rm`. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, resolve, sep } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import type { RunJson } from "../api/run-json.ts";
import { reasonInWords } from "../api/reason-words.ts";
import type { TaskJson } from "../api/task-json.ts";
import { systemClock } from "../base/system-clock.ts";
import { CLIENT_SETTINGS, type CommandContext, contextOf, defineSettings, parseCount } from "./command-context.ts";
import { UsageError } from "./exit-code.ts";
import { printable } from "./table.ts";
import { ageText, outcomeText, shortPeer, stateTone } from "./words.ts";

export function defineTask(program: Command): void {
  const task = program.command("task").description("look at tasks, cancel them, remove them");
  defineList(task);
  defineGet(task);
  defineLogs(task);
  defineFiles(task);
  defineCancel(task);
  defineRetry(task);
  defineExplain(task);
  defineRemove(task);
}

function defineList(task: Command): void {
  const command = task
    .command("ls")
    .description("tasks, newest first")
    .option("--state <state>", "only tasks in this state")
    .option("--limit <n>", "how many", parseCount, 100);
  defineSettings(command, CLIENT_SETTINGS).action(async ({ state, limit }: { state?: string; limit: number }) => {
    const { client, output } = contextOf(command);
    const tasks: TaskJson[] = [];
    for await (const item of client.listTasks({ state, limit })) tasks.push(item);
    if (output.isJson) return output.json(tasks);
    const now = Date.now();
    output.table(
      [
        // One that the gateway made stays whole: it is what the other commands take.
        { heading: "ID", value: (row) => row.id, isFlexible: true, widthMin: 36 },
        { heading: "STATE", value: (row) => row.state, tone: (row) => stateTone(row.state) },
        { heading: "DONE", value: (row) => `${Math.floor(row.progress * 100)} %` },
        { heading: "RUNS", value: (row) => `${row.completions}/${row.runs ?? "∞"}` },
        { heading: "RESULT", value: (row) => row.result?.value ?? row.result?.stdout.trim() ?? "-", isFlexible: true },
        { heading: "AGE", value: (row) => ageText(row.createdAt, now) },
        { heading: "DESCRIPTION", value: (row) => row.description, isFlexible: true },
      ],
      tasks,
      "no tasks",
    );
  });
}

function defineGet(task: Command): void {
  const command = task.command("get").description("a task and its runs").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const context = contextOf(command);
    const found = await context.client.getTask(id);
    if (context.output.isJson) return context.output.json(found);
    await printTask(context, found);
  });
}

/** Runs of a task beyond this many are left to `--json` and the API. */
const RUNS_SHOWN_MAX = 200;

async function printTask({ client, output }: CommandContext, task: TaskJson): Promise<void> {
  const fields: readonly (readonly [string, string | undefined])[] = [
    ["id", task.id],
    ["description", task.description],
    ["state", task.state],
    ["reason", task.reason === null ? undefined : reasonInWords(task.reason)],
    ["progress", `${Math.floor(task.progress * 100)} %, ${task.completions} of ${task.runs ?? "∞"} completions`],
    ["module", task.module === null ? undefined : `${task.module} (${task.kind ?? "any bytes"})`],
    ["entry", task.entry],
    ["created", task.createdAt],
    ["next run", task.nextRunAt ?? undefined],
    ["finished", task.finishedAt ?? undefined],
    ["value", task.result?.value],
    ["exit code", task.result?.exitCode?.toString()],
  ];
  const shown = fields.filter(([, value]) => value !== undefined && value !== "");
  output.table(
    [
      { heading: "FIELD", value: ([name]) => name },
      { heading: "VALUE", value: ([, value]) => value ?? "", isFlexible: true },
    ],
    shown,
    "",
  );
  const runs: RunJson[] = [];
  for await (const run of client.listRuns(task.id)) {
    runs.push(run);
    if (runs.length >= RUNS_SHOWN_MAX) break;
  }
  output.line("");
  output.table(
    [
      { heading: "RUN", value: (run) => String(run.index) },
      { heading: "STATE", value: (run) => run.state, tone: (run) => stateTone(run.state) },
      { heading: "DUE", value: (run) => run.dueAt ?? "-" },
      { heading: "ATTEMPTS", value: (run) => String(run.attempts.length) },
      { heading: "WORKER", value: (run) => shortPeer(run.attempts.at(-1)?.worker) },
      { heading: "OUTCOME", value: (run) => outcomeText(run), isFlexible: true },
    ],
    runs,
    "no run has come due yet",
  );
}

function defineFiles(task: Command): void {
  const command = task
    .command("files")
    .description("files that were kept of a run; with --out-dir, fetches them")
    .argument("<id>")
    .option("--run <n>", "which run (default: the first)", parseCount, 1)
    .option("--out-dir <folder>", "where to write them; made if it is not there");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string, options: FilesOptions) => {
    const { client, output } = contextOf(command);
    const files = await client.listFiles(id, options.run);
    if (options.outDir !== undefined) {
      const folder = resolve(options.outDir);
      for (const file of files) {
        const target = resolve(folder, file.path);
        // The gateway has refused such paths; a file is not written elsewhere on anybody's word.
        if (!target.startsWith(folder + sep)) throw new UsageError(`${file.path}: leads out of ${folder}`);
        await mkdir(dirname(target), { recursive: true });
        await writeFile(target, await client.readFile(id, options.run, file.path));
      }
    }
    if (output.isJson) return output.json(files);
    output.table(
      [
        { heading: "PATH", value: (file) => file.path },
        { heading: "BYTES", value: (file) => String(file.bytes) },
        { heading: "SHA-256", value: (file) => file.sha256, isFlexible: true },
      ],
      files,
      "no files were kept; `--output <glob>` of `run` says which are",
    );
  });
}

interface FilesOptions {
  readonly run: number;
  readonly outDir?: string;
}

interface LogsOptions {
  readonly follow?: boolean;
  readonly run?: number | "all";
  readonly stream?: string;
}

function defineLogs(task: Command): void {
  const command = task
    .command("logs")
    .description("a run's output; stdout and stderr go where they went")
    .argument("<id>")
    .option("-f, --follow", "go on until the run is over")
    .option("--run <n>", "which run, or all (default: the latest started)", parseRun)
    .option("--stream <stream>", "stdout or stderr alone, byte for byte", parseStream);
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string, options: LogsOptions) => {
    const context = contextOf(command);
    const { client, output } = context;
    const { follow, run } = options;
    const stream = options.stream === "stdout" || options.stream === "stderr" ? options.stream : undefined;
    if (stream !== undefined && !follow && !output.isJson) {
      return output.raw("stdout", await client.rawLog(id, { run, stream }));
    }
    const onTruncated = (): void =>
      output.say("capmesh: the output is cut here: it was longer than the task's outputMax");
    const isWatched = follow === true && output.isStderrTerminal && !output.isJson;
    using silence = isWatched ? saySilence(context, id) : undefined;
    for await (const chunk of client.logs(id, { follow, run, stream, onTruncated })) {
      silence?.[Symbol.dispose]();
      if (output.isJson) output.json(chunk);
      else await output.raw(stream === undefined ? chunk.stream : "stdout", chunk.text);
    }
  });
}

/** How long somebody who follows a task looks at nothing before being told why. */
const SILENCE_MS = 1_000;

/** Says, once, why there is no output yet. Disposing it before, it says nothing. */
function saySilence({ client, output }: CommandContext, id: string): Disposable {
  const stopped = new AbortController();
  const { signal } = stopped;
  const say = async (): Promise<void> => {
    const { state, reasons } = await client.explain(id, { signal });
    if (!signal.aborted && state !== "running")
      output.say(`capmesh: nothing yet: ${printable(reasons[0]?.message ?? state)}`);
  };
  // A gateway that does not answer is the business of whoever reads the log.
  const timer = systemClock.setTimer(SILENCE_MS, () => void say().catch(() => {}));
  return {
    [Symbol.dispose]() {
      stopped.abort();
      timer[Symbol.dispose]();
    },
  };
}

function defineCancel(task: Command): void {
  const command = task.command("cancel").description("cancel a task: its runs under way are ended").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    const cancelled = await client.cancel(id);
    if (output.isJson) output.json(cancelled);
    else output.say(`task ${id} is cancelled`);
  });
}

function defineExplain(task: Command): void {
  const command = task.command("explain").description("why a task is where it is").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    const explanation = await client.explain(id);
    if (output.isJson) return output.json(explanation);
    output.line(`${printable(explanation.task)} is ${explanation.state}`);
    for (const { message } of explanation.reasons) output.line(`- ${printable(message)}`);
  });
}

function defineRetry(task: Command): void {
  const command = task
    .command("retry")
    .description("run the failed and cancelled runs of a finished task again")
    .argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    const retried = await client.retry(id);
    if (output.isJson) output.json(retried);
    else output.say(`task ${id} is ${retried.state} again`);
  });
}

function defineRemove(task: Command): void {
  const command = task.command("rm").description("cancel a task and forget it; its id is free again").argument("<id>");
  defineSettings(command, CLIENT_SETTINGS).action(async (id: string) => {
    const { client, output } = contextOf(command);
    await client.delete(id);
    if (output.isJson) output.json({ id, deleted: true });
    else output.say(`task ${id} is forgotten`);
  });
}

function parseRun(text: string): number | "all" {
  if (text === "all") return "all";
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError("Expected a run's number, from 1, or all.");
  return Number(text);
}

function parseStream(text: string): string {
  if (text !== "stdout" && text !== "stderr") throw new InvalidArgumentError("Expected stdout or stderr.");
  return text;
}
