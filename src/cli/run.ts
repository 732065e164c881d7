/**
 * `capmesh run`: submits a module, passes its output on as it comes, and ends with the guest's exit code.
 *
 * The task belongs to the gateway, not to this program: interrupted, it goes on unless the user says otherwise.
 */
import { createInterface } from "node:readline/promises";
import { type Command, Option } from "commander";
import { parseDuration } from "../api/duration.ts";
import { reasonInWords } from "../api/reason-words.ts";
import type { RunJson } from "../api/run-json.ts";
import type { TaskJson } from "../api/task-json.ts";
import { ClusterError } from "../base/errors.ts";
import { ApiError } from "../client/api-error.ts";
import { systemClock } from "../base/system-clock.ts";
import { CLIENT_SETTINGS, type CommandContext, contextOf, defineSettings } from "./command-context.ts";
import { EXIT, InterruptedError, UsageError, WaitTimedOutError } from "./exit-code.ts";
import { LiveView, progressBar } from "./live-view.ts";
import { type SubmitOptions, defineSubmitOptions, submitFields } from "./submit-options.ts";
import { printable } from "./table.ts";

interface RunOptions extends SubmitOptions {
  readonly detach?: boolean;
  readonly wait?: string;
}

const PROGRESS_EVERY_MS = 500;
const BAR_WIDTH = 24;
/** Values of more runs than this are not all printed: the task has them. */
const VALUES_MAX = 1_000;

export function defineRun(program: Command): void {
  const command = program
    .command("run")
    .description("run a module on the cluster and wait for it; exits with the guest's exit code")
    .argument("<file.wasm>", "the module, core or component")
    .argument("[args...]", "arguments of the guest, after --")
    .option("--detach", "print the task's id and leave it running")
    .addOption(
      new Option("--wait <duration>", "give up waiting after this long; the task goes on").conflicts("detach"),
    );
  defineSubmitOptions(command);
  defineSettings(command, CLIENT_SETTINGS);
  command.action(async (file: string, args: readonly string[], options: RunOptions) => {
    process.exitCode = await run(contextOf(command), file, args, options);
  });
}

async function run(
  context: CommandContext,
  file: string,
  args: readonly string[],
  { detach, wait, ...options }: RunOptions,
): Promise<number> {
  const { client, output } = context;
  const waitMs = wait === undefined ? undefined : parseDuration(wait);
  if (wait !== undefined && waitMs === undefined) {
    throw new UsageError(`--wait ${wait}: expected a duration: seconds, or 500ms, 30s, 5m`);
  }
  const fields = submitOnly(options);
  const { idempotencyKey } = options;
  const task = await client.submit(await submitFields(file, args, fields), { idempotencyKey });
  if (detach) {
    if (output.isJson) output.json(task);
    else output.line(task.id);
    return EXIT.ok;
  }
  if (output.isJson) output.json({ event: "submitted", task });
  const view = new LiveView({
    write: (text) => process.stderr.write(text),
    isTerminal: output.isStderrTerminal && !output.isJson,
    width: () => output.stderrWidth,
  });
  using interrupts = new Interrupts(context, task.id, view);
  const late = new AbortController();
  using _ = waitMs === undefined ? undefined : systemClock.setTimer(waitMs, () => late.abort(waitTimedOut(task.id)));
  const finished = await follow(context, task, view, AbortSignal.any([interrupts.signal, late.signal]));
  return await report(context, finished);
}

/** Settings of the client are options of the command too; they are no fields. */
function submitOnly(options: SubmitOptions & { url?: string; token?: string; json?: boolean }): SubmitOptions {
  const { url: _url, token: _token, json: _json, ...fields } = options;
  return fields;
}

function waitTimedOut(id: string): WaitTimedOutError {
  return new WaitTimedOutError(
    `task ${id} has not finished in time; it goes on: \`capmesh task logs ${id} -f\` follows it`,
  );
}

/** Passes on all output until the task has finished. */
async function follow(context: CommandContext, task: TaskJson, view: LiveView, given: AbortSignal): Promise<TaskJson> {
  const { client, output } = context;
  const broken = new AbortController();
  const signal = AbortSignal.any([given, broken.signal]);
  const hasProgress = output.isStderrTerminal && !output.isJson;
  const stopProgress = hasProgress
    ? showProgress({
        getTask: (options) => client.getTask(task.id, options),
        explain: async (options) => (await client.explain(task.id, options)).reasons[0]?.message,
        show: (now, reason) => view.update(reason === undefined ? [progressLine(now)] : [progressLine(now), reason]),
        onBroken: (thrown) => broken.abort(thrown),
      })
    : () => {};
  try {
    const onTruncated = (): void => {
      void view.above("", () => output.say(`capmesh: the output is cut here: it was longer than --output-max`));
    };
    for await (const chunk of client.logs(task.id, { run: "all", follow: true, signal, onTruncated })) {
      if (output.isJson) output.json({ event: "output", ...chunk });
      else await view.above(chunk.text, () => output.raw(chunk.stream, chunk.text));
    }
    return await client.waitForTask(task.id, { signal });
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status === 403) {
      output.say(`capmesh: task ${task.id} was submitted, and goes on; only following it is refused`);
    }
    throw thrown;
  } finally {
    stopProgress();
    view.clear();
  }
}

export interface ProgressInit {
  readonly getTask: (options: { readonly signal: AbortSignal }) => Promise<TaskJson>;
  /** Why it is where it is, in a sentence. Asked for while nothing of it runs. */
  readonly explain: (options: { readonly signal: AbortSignal }) => Promise<string | undefined>;
  readonly show: (task: TaskJson, reason: string | undefined) => void;
  /** Called with what is no trouble of the gateway. */
  readonly onBroken: (thrown: unknown) => void;
}

/** Asks for the task from time to time and shows how far it is. The caller stops it. */
export function showProgress({ getTask, explain, show, onBroken }: ProgressInit): () => void {
  const stopped = new AbortController();
  const { signal } = stopped;
  const draw = async (): Promise<void> => {
    try {
      const task = await getTask({ signal });
      const isWaiting = task.state === "ready" || task.state === "scheduled";
      const reason = isWaiting ? await explain({ signal }) : undefined;
      if (!signal.aborted) show(task, reason === undefined ? undefined : printable(reason));
    } catch (thrown) {
      // The log's reader tells when the gateway is gone for good.
      if (!(thrown instanceof ClusterError) && !signal.aborted) onBroken(thrown);
    }
  };
  const timer = setInterval(() => void draw(), PROGRESS_EVERY_MS);
  void draw();
  return () => {
    stopped.abort();
    clearInterval(timer);
  };
}

export function progressLine(task: TaskJson): string {
  const runs = task.runs === null || task.runs === 1 ? "" : `  ${task.completions} of ${task.runs} runs`;
  // A narrow terminal cuts the id, which says least.
  return `${progressBar(task.progress, BAR_WIDTH)}${runs}  ${task.state}  ${printable(task.id)}`;
}

/** Values and why it failed, if it did; the exit code. */
async function report({ client, output }: CommandContext, task: TaskJson): Promise<number> {
  const runs: RunJson[] = [];
  if ((task.runs ?? Infinity) <= VALUES_MAX) for await (const run of client.listRuns(task.id)) runs.push(run);
  if (output.isJson) output.json({ event: "finished", task, runs });
  else {
    const values = runs.length > 0 ? runs.map((run) => run.result?.value) : [task.result?.value];
    for (const value of values) if (value !== undefined) output.line(value);
  }
  if (task.state === "succeeded") return EXIT.ok;
  const failed = runs.findLast((run) => run.state === "failed");
  if (!output.isJson) output.say(`capmesh: task ${task.id} ${task.state}${reasonText(task, failed)}`);
  const code = failed?.outcome?.code ?? task.result?.exitCode ?? 0;
  return task.state === "failed" && code > 0 && code < 256 ? code : EXIT.taskFailed;
}

function reasonText(task: TaskJson, run: RunJson | undefined): string {
  const outcome = run?.outcome;
  // That it exited, and with which code, is all there is to say then.
  if (outcome?.kind === "exited") return `: exit code ${outcome.code ?? "unknown"}`;
  return [outcome?.kind, outcome?.reason ?? task.reason]
    .filter((text) => text !== undefined && text !== null)
    .map((text) => `: ${printable(reasonInWords(text))}`)
    .join("");
}

/**
 * The first Ctrl-C on a terminal asks once whether to cancel the task; anywhere else, and on every further signal, the
 * program ends and the task goes on.
 */
class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  readonly #context: CommandContext;
  readonly #id: string;
  readonly #view: LiveView;
  readonly #onInterrupt = (): void => void this.#take();
  readonly #onTermination = (): void => this.#leave();
  #isAsking = false;

  constructor(context: CommandContext, id: string, view: LiveView) {
    this.#context = context;
    this.#id = id;
    this.#view = view;
    process.on("SIGINT", this.#onInterrupt);
    process.on("SIGTERM", this.#onTermination);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async #take(): Promise<void> {
    if (!this.#isAsking && process.stdin.isTTY && this.#context.output.isStderrTerminal) {
      this.#isAsking = true;
      if (await this.#isToBeCancelled()) return this.#cancel();
    }
    this.#leave();
  }

  #leave(): void {
    this.#controller.abort(
      new InterruptedError(
        `task ${this.#id} goes on: \`capmesh task logs ${this.#id} -f\` follows it, ` +
          `\`capmesh task cancel ${this.#id}\` ends it`,
      ),
    );
  }

  async #isToBeCancelled(): Promise<boolean> {
    this.#view.pause();
    const reader = createInterface({ input: process.stdin, output: process.stderr });
    const closed = new AbortController();
    reader.on("SIGINT", () => closed.abort());
    reader.on("close", () => closed.abort());
    try {
      const answer = await reader.question(`\ncancel task ${this.#id}? [y/N] `, { signal: closed.signal });
      return /^y(?:es)?$/i.test(answer.trim());
    } catch {
      return false;
    } finally {
      reader.close();
      this.#view.resume();
    }
  }

  async #cancel(): Promise<void> {
    try {
      await this.#context.client.cancel(this.#id);
      this.#controller.abort(new InterruptedError(`task ${this.#id} is cancelled`));
    } catch (thrown) {
      this.#controller.abort(thrown);
    }
  }

  [Symbol.dispose](): void {
    process.off("SIGINT", this.#onInterrupt);
    process.off("SIGTERM", this.#onTermination);
  }
}
