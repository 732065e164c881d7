/**
 * The fields of `POST /tasks`, as a form carries them: their names, what they take and what they mean. Names stand here
 * alone; `submission.ts` reads the values, and says of each that it cannot use what would be right.
 */
import { z } from "zod";
import {
  FIELD_BYTES_MAX,
  FILE_PATH_BYTES_MAX,
  KEPT_FILES_BYTES_MAX,
  KEPT_FILES_MAX,
  MEMORY_MIB_DEFAULT,
  OUTPUT_BYTES_DEFAULT,
  OUTPUT_BYTES_MAX,
  PRIORITY_MAX,
  STDIN_BYTES_MAX,
} from "../base/limits.ts";
import { mib } from "../base/wording.ts";
import { TASK_ID_PATTERN } from "../base/ids.ts";
import { CATCHUPS, OVERLAPS } from "../model/schedule.ts";
import { RETRYABLE_KINDS, type TaskSpec } from "../model/task.ts";

function text(description: string, example: string): z.ZodOptional<z.ZodString> {
  return z
    .string()
    .meta({ description, examples: [example] })
    .optional();
}

function texts(description: string, example: string[]): z.ZodOptional<z.ZodArray<z.ZodString>> {
  return z
    .array(z.string())
    .meta({ description, examples: [example] })
    .optional();
}

function choice(values: readonly string[], description: string, example: string): z.ZodOptional<z.ZodEnum> {
  return z
    .enum(values)
    .meta({ description, examples: [example] })
    .optional();
}

function file(description: string): z.ZodOptional<z.ZodString> {
  return z.string().meta({ description, format: "binary" }).optional();
}

function seconds(description: string, example: string): z.ZodOptional<z.ZodString> {
  return text(`${description} Seconds, or \`500ms\`, \`2s\`, \`5m\`, \`1h\`, \`1d\`.`, example);
}

const OUTPUT_LIMITS: readonly TaskSpec["outputLimit"][] = ["truncate", "fail"];

export const submissionFormSchema = z.object({
  wasm: file("The module, core or component. Or `module`. With an entry of a worker's own: any bytes, or left out."),
  module: text(
    "SHA-256 of a module that the gateway has, in place of `wasm`.",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  ),
  id: z
    .string()
    .regex(TASK_ID_PATTERN)
    .meta({ description: "Of your own; left out, one is made.", examples: ["nightly-report"] })
    .optional(),
  description: text("Shown, never interpreted.", "the nightly report"),
  complete: text("Where the completion counter starts; each run that succeeds adds one. Default 0.", "0"),
  duration: seconds("How long a run is expected to take: for the progress estimate, limits nothing.", "90"),
  start: text("When the first run is due: seconds from now, a duration, or an RFC 3339 time. Default: now.", "1m"),
  delay: seconds("Between due times: run n is due at createdAt + start + (n-1) * delay. Default 0.", "2s"),
  repeats: text("Runs in total; 0 and 1 both mean one. With `cron`: left out or 0, until cancelled.", "3"),
  cron: text("When runs are due, in five or six fields, in place of `start` and `delay`.", "30 2 * * 1-5"),
  timezone: text("Of `cron`. Default UTC.", "Europe/Berlin"),
  overlap: choice(
    OVERLAPS,
    "`allow` (default): runs are due whatever the one before does; `forbid`: not before it has ended.",
    "forbid",
  ),
  catchup: choice(CATCHUPS, "Of `cron` slots that were missed: `latest` (default), `all` or `none`.", "latest"),
  after: texts("Ids of tasks that must have succeeded before. Repeatable.", ["fetch-data"]),
  input: text("First argument of an exported `run(i32, i32) -> i32`; selects that entry.", "1"),
  difficulty: text("Its second argument.", "3"),
  entry: text(
    "`command`, `run` or `component`, or a kind that workers have of their own. Default: what fits the module and the arguments.",
    "command",
  ),
  args: texts("argv[1..]. Repeatable, or one JSON array of strings.", ["--fast", "in.txt"]),
  env: texts("`KEY=VALUE`. Repeatable, or one JSON object.", ["LANG=C"]),
  stdin: text(`As text of up to ${mib(FIELD_BYTES_MAX)} MiB, or as a file of up to ${mib(STDIN_BYTES_MAX)}.`, "hello"),
  files: texts(
    "Files that the guest finds in its `/`, under the names of the parts; or `@<task>/<path>`, a kept file of another task. Repeatable.",
    ["@build/out/app.bin"],
  ),
  outputs: texts(
    "Globs: which of its files, symbolic links not, are kept after a run. Repeatable. " +
      `At most ${KEPT_FILES_MAX} files of ${mib(KEPT_FILES_BYTES_MAX)} MiB together, each path at most ${FILE_PATH_BYTES_MAX} bytes.`,
    ["out/**"],
  ),
  timeout: seconds("Wall time of one attempt. Default 300.", "5m"),
  cpu: seconds("CPU time of one attempt. Default: as `timeout`. Not with an entry of a worker's own.", "60"),
  memory: text(
    `Cap of the linear memory, MiB. Default ${MEMORY_MIB_DEFAULT}. Not with an entry of a worker's own.`,
    "256",
  ),
  outputMax: text(
    `Bytes of output that are kept of a run. Default ${OUTPUT_BYTES_DEFAULT}, at most ${OUTPUT_BYTES_MAX}.`,
    "1048576",
  ),
  outputLimit: choice(OUTPUT_LIMITS, "Past `outputMax`: `truncate` (default) or `fail`.", "truncate"),
  retries: text("More attempts after one that failed by itself. Default 0.", "2"),
  backoff: seconds("Before the first retry; doubles from one to the next. Default 1.", "5s"),
  retryOn: z
    .array(z.enum(RETRYABLE_KINDS))
    .meta({
      description: "Outcomes that are tried again. Repeatable. Default: all of them.",
      examples: [["timed-out"]],
    })
    .optional(),
  priority: text(`-${PRIORITY_MAX} to ${PRIORITY_MAX}, higher first. Default 0.`, "10"),
  require: texts("`label=value` that a worker must have. Repeatable.", ["arch=x64"]),
});
