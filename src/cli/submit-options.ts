/** The flags of a submission, and the fields they make. Values go to the gateway as they were typed: it checks them. */
import { openAsBlob } from "node:fs";
import { access, constants, stat } from "node:fs/promises";
import { basename } from "node:path";
import { text as readText } from "node:stream/consumers";
import type { Command } from "commander";
import { messageOf } from "../base/errors.ts";
import type { SubmitFields, SubmittedFile } from "../client/submit-form.ts";
import { collect } from "./command-context.ts";
import { UsageError } from "./exit-code.ts";

export interface SubmitOptions {
  readonly id?: string;
  readonly description?: string;
  readonly input?: string;
  readonly difficulty?: string;
  readonly entry?: string;
  readonly start?: string;
  readonly delay?: string;
  readonly repeats?: string;
  readonly cron?: string;
  readonly timezone?: string;
  readonly overlap?: string;
  readonly catchup?: string;
  readonly after?: readonly string[];
  readonly duration?: string;
  readonly complete?: string;
  readonly env?: readonly string[];
  readonly stdin?: string;
  readonly timeout?: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly outputMax?: string;
  readonly outputLimit?: string;
  readonly retries?: string;
  readonly retryOn?: readonly string[];
  readonly backoff?: string;
  readonly priority?: string;
  readonly require?: readonly string[];
  readonly file?: readonly string[];
  readonly output?: readonly string[];
  readonly idempotencyKey?: string;
}

export function defineSubmitOptions(command: Command): Command {
  return command
    .optionsGroup("What to run:")
    .option("--id <id>", "the task's id (default: one is made)")
    .option("--input <n>", "first argument of an exported run(i32, i32)")
    .option("--difficulty <n>", "second argument of an exported run(i32, i32)")
    .option(
      "--entry <entry>",
      "command, run, component, or the kind of a worker of your own (default: by what the module exports)",
    )
    .option("--env <key=value>", "environment variable of the guest; repeatable", collect)
    .option("--stdin <file>", "what the guest reads from stdin; - is this program's stdin")
    .option(
      "--file <path[:guest path]>",
      "a file that the guest finds below /, under its own name unless told; or @<task>/<path>, a kept file of another task; repeatable",
      collect,
    )
    .option("--output <glob>", "files of the guest to keep after a run, such as 'out/**'; repeatable", collect)
    .optionsGroup("When, and how often:")
    .option("--start <when>", "before the first run: seconds, 500ms, 2s, 5m, 1h, 1d, or an RFC 3339 time")
    .option("--delay <duration>", "between due times of runs")
    .option("--repeats <n>", "runs in total")
    .option(
      "--cron <expression>",
      "instead of --start and --delay: 5 or 6 fields, such as '30 2 * * *'; goes on until it is cancelled, or for --repeats",
    )
    .option("--timezone <name>", "of --cron: Europe/Berlin, America/New_York… (default: UTC)")
    .option("--overlap <what>", "may a run start while one is under way: allow or forbid")
    .option("--catchup <what>", "of --cron, what becomes of missed slots: latest, all or none")
    .option("--after <id>", "a task that has to succeed first; repeatable", collect)
    .optionsGroup("Where, and what holds it:")
    .option("--require <key=value>", "worker label that must hold; repeatable", collect)
    .option("--priority <n>", "-100 to 100, higher first")
    .option("--timeout <duration>", "wall time of one attempt (default: 300)")
    .option("--cpu <duration>", "CPU time of one attempt (default: as --timeout)")
    .option("--memory <MiB>", "cap of linear memory (default: 256)")
    .option("--output-max <bytes>", "kept output of one run (default: 1 MiB)")
    .option("--output-limit <what>", "past --output-max: truncate (default) or fail")
    .option("--retries <n>", "more attempts after one that failed by itself")
    .option("--retry-on <kind>", "exited, trapped, timed-out or memory-exceeded; repeatable (default: all)", collect)
    .option("--backoff <duration>", "before the first retry, doubling (default: 1)")
    .optionsGroup("What is shown:")
    .option("--description <text>", "shown, never interpreted")
    .option("--duration <duration>", "how long a run is expected to take, for the progress shown")
    .option("--complete <n>", "where the completion counter starts")
    .optionsGroup("Options:")
    .option("--idempotency-key <key>", "makes it safe to run the command again: within a day it submits once");
}

/** @throws UsageError for a file that cannot be read, or a pair without `=`. */
export async function submitFields(
  file: string,
  args: readonly string[],
  options: SubmitOptions,
): Promise<SubmitFields> {
  const { env, require, stdin, file: files, output, idempotencyKey: _key, ...plain } = options;
  return {
    ...plain,
    wasm: await fileBlob(file, "<file.wasm>"),
    ...(args.length === 0 ? {} : { args }),
    ...(env === undefined ? {} : { env: pairs(env, "--env") }),
    ...(require === undefined ? {} : { require: pairs(require, "--require") }),
    ...(stdin === undefined ? {} : { stdin: await stdinContent(stdin) }),
    ...(files === undefined ? {} : { files: await Promise.all(files.map(inputFile)) }),
    ...(output === undefined ? {} : { outputs: output }),
  };
}

/** `a/b.txt` is `b.txt` for the guest, `a/b.txt:in/c` is `in/c`. */
async function inputFile(text: string): Promise<SubmittedFile | string> {
  if (text.startsWith("@")) return text;
  const colon = text.lastIndexOf(":");
  const local = colon > 0 ? text.slice(0, colon) : text;
  const path = colon > 0 ? text.slice(colon + 1) : basename(text);
  return { path, content: await fileBlob(local, "--file") };
}

async function stdinContent(where: string): Promise<Blob | string> {
  return where === "-" ? readText(process.stdin) : fileBlob(where, "--stdin");
}

/** A file that is streamed when it is sent, not read now. Throws a UsageError that names `argument`. */
export async function fileBlob(path: string, argument: string): Promise<Blob> {
  try {
    if (!(await stat(path)).isFile()) throw new Error("it is not a file");
    await access(path, constants.R_OK);
    return await openAsBlob(path);
  } catch (cause) {
    throw new UsageError(`${argument}: cannot read ${path}: ${fileTrouble(cause)}`, { cause });
  }
}

function fileTrouble(thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  if (code === "ENOENT") return "there is no such file";
  return code === "EACCES" ? "this user may not" : messageOf(thrown);
}

function pairs(texts: readonly string[], flag: string): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw new UsageError(`${flag} ${text}: expected key=value, such as ${flag} mode=fast`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}
