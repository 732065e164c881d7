/**
 * A submission: the fields of `POST /tasks`, read and checked, with every default filled in. What needs the module (its
 * kind, the entry that fits it) or the moment of acceptance is added by `taskSpec`.
 */
import { type Digest, type TaskId, parseDigest, parseTaskId } from "../base/ids.ts";
import {
  AFTER_MAX,
  ARGS_MAX,
  DESCRIPTION_LENGTH_MAX,
  DURATION_MS_MAX,
  ENV_MAX,
  LABELS_MAX,
  MEMORY_MIB_DEFAULT,
  MEMORY_MIB_MAX,
  OUTPUT_BYTES_DEFAULT,
  OUTPUT_BYTES_MAX,
  PRIORITY_MAX,
  REPEATS_MAX,
  RETRIES_MAX,
  SPEC_BYTES_MAX,
  STDIN_BYTES_MAX,
  STRANGERS_TOLD_MAX,
  TIMEOUT_MS_DEFAULT,
} from "../base/limits.ts";
import { type Entry, isWasmEntry } from "../model/entry.ts";
import type { ModuleKind } from "../model/module.ts";
import { CATCHUPS, type Catchup, OVERLAPS } from "../model/schedule.ts";
import { RETRYABLE_KINDS, type RetryableKind, type TaskSpec, totalRuns } from "../model/task.ts";
import type { FileContent } from "../model/task-file.ts";
import { parseTimezone, timezoneNames } from "../model/timezone.ts";
import { closestName, closestTimezone } from "./closest.ts";
import { CronChecks } from "./cron-checks.ts";
import { parseDuration, secondsOf } from "./duration.ts";
import { FormFields, type FormTexts, INT32, shown } from "./form-fields.ts";
import type { FieldError } from "./problem.ts";
import { parseWantedEntry, refuseWasmFields } from "./submission-entry.ts";
import { parseFiles, parseOutputs } from "./submission-files.ts";
import { submissionFormSchema } from "./submission-form.ts";
import { TIME_MAX, formatTime, parseTime } from "./time.ts";

/** Fields of `POST /tasks`. */
export const SUBMISSION_FIELDS: readonly string[] = Object.keys(submissionFormSchema.shape);

const OUTPUT_LIMITS: readonly TaskSpec["outputLimit"][] = ["truncate", "fail"];
const MIB = 1024 * 1024;
const BACKOFF_MS_DEFAULT = 1_000;
/** What fits a whole number of JSON, whatever is added to it. */
const COMPLETE_MAX = 999_999_999_999_999;

/** When the first run is due: some time after acceptance, or at a time. */
export type Start = { readonly afterMs: number } | { readonly at: number };

/** Of a submission: all but what follows from its module and from the moment of its acceptance. */
export interface Submission extends Omit<
  TaskSpec,
  "id" | "submitter" | "module" | "kind" | "entry" | "firstDueAt" | "start"
> {
  /** Undefined: one is to be made. */
  readonly id?: TaskId | undefined;
  /** A module that the gateway is said to have, instead of a file. */
  readonly module?: Digest | undefined;
  readonly wantedEntry?: Entry | undefined;
  readonly start: Start;
}

export interface SubmissionParts {
  readonly texts: FormTexts;
  /** Whether a `wasm` file came. */
  readonly hasModuleFile: boolean;
  /** A `stdin` file. */
  readonly stdinFile?: Uint8Array | undefined;
  /** Input files whose content came, under the names that they came with. */
  readonly files?: readonly FileContent[] | undefined;
  readonly now: number;
  /** It is a line of a batch: no file can come with it. Its lines share what was found of their cron expressions. */
  readonly batch?: { readonly crons: CronChecks } | undefined;
}

export type SubmissionResult =
  | { readonly ok: true; readonly submission: Submission }
  /** `readable` is what could be read: fields that were refused are as if they had been left out. */
  | { readonly ok: false; readonly errors: readonly FieldError[]; readonly readable: Submission };

/** Reads all fields; the errors are all there are, in no order. */
export function parseSubmission(parts: SubmissionParts): SubmissionResult {
  const fields = new FormFields(parts.texts);
  refuseStrangers(fields, parts.texts);
  const wantedEntry = parseWantedEntry(fields);
  const isCustom = wantedEntry !== undefined && !isWasmEntry(wantedEntry);
  if (isCustom) refuseWasmFields(fields, wantedEntry);
  const submission: Submission = {
    id: parseId(fields),
    module: parseModule(fields, parts, isCustom),
    wantedEntry,
    ...parseSchedule(fields, parts),
    ...parseArguments(fields, parts.stdinFile),
    ...parseLimits(fields),
    files: parseFiles(fields, parts.files ?? []),
    outputs: parseOutputs(fields),
    description: parseDescription(fields),
    complete: fields.integer("complete", { min: 0, max: COMPLETE_MAX }) ?? 0,
    priority: fields.integer("priority", { min: -PRIORITY_MAX, max: PRIORITY_MAX }) ?? 0,
    require: parseRequire(fields),
    after: parseAfter(fields),
  };
  return fields.errors.length === 0
    ? { ok: true, submission }
    : { ok: false, errors: fields.errors, readable: submission };
}

export interface TaskSpecInit {
  readonly id: TaskId;
  readonly submitter: string;
  readonly traceparent?: string | undefined;
  readonly module: Digest | undefined;
  readonly kind: ModuleKind | undefined;
  readonly entry: Entry;
  /** When it is accepted: what `start` counts from. */
  readonly now: number;
}

export function taskSpec(submission: Submission, init: TaskSpecInit): TaskSpec {
  const { wantedEntry: _, start, ...rest } = submission;
  const { now, ...identity } = init;
  return {
    ...rest,
    ...identity,
    firstDueAt: firstDueAt(start, now),
    start: "at" in start ? formatTime(start.at) : secondsOf(start.afterMs),
  };
}

function firstDueAt(start: Start, now: number): number {
  return "at" in start ? start.at : now + start.afterMs;
}

function refuseStrangers(fields: FormFields, texts: FormTexts): void {
  const strangers = Array.from(texts.keys()).filter((field) => !SUBMISSION_FIELDS.some((name) => name === field));
  for (const field of strangers.slice(0, STRANGERS_TOLD_MAX)) fields.refuse(field, strangerMessage(field));
}

/** For a field that there is not. */
export function strangerMessage(field: string): string {
  const closest = closestName(field, SUBMISSION_FIELDS);
  return closest === undefined
    ? `is no field of a task; there are ${SUBMISSION_FIELDS.join(", ")}`
    : `is no field of a task: did you mean ${closest}?`;
}

/** For a field that came as a file and is none. */
export function unwantedFileMessage(field: string): string {
  if (!SUBMISSION_FIELDS.some((name) => name === field)) return strangerMessage(field);
  return `came as a file: send it as text, as in -F ${field}=<value>`;
}

function parseId(fields: FormFields): TaskId | undefined {
  const text = fields.filled("id");
  if (text === undefined) return undefined;
  const id = parseTaskId(text);
  if (id === undefined) {
    fields.refuse(
      "id",
      `is ${shown(text)}, and 1 to 128 letters, digits, dots, underscores or hyphens are expected, the first a letter or digit`,
    );
  }
  return id;
}

function parseModule(
  fields: FormFields,
  { hasModuleFile, batch }: Pick<SubmissionParts, "hasModuleFile" | "batch">,
  isCustom: boolean,
): Digest | undefined {
  const isMissing = fields.all("module").length === 0 && !isCustom;
  if (batch !== undefined && (fields.all("wasm").length > 0 || isMissing)) {
    const field = fields.all("wasm").length > 0 ? "wasm" : "module";
    fields.refuse(
      field,
      `is ${field === "wasm" ? "given" : "missing"}: a batch names modules that the gateway has (PUT /modules), as "module":"<sha256>"`,
    );
    return undefined;
  }
  if (fields.all("wasm").length > 0) {
    fields.refuse("wasm", "came as text: send it as a file, as in -F wasm=@task.wasm (mind the @)");
    return undefined;
  }
  const text = fields.filled("module");
  if (text === undefined) {
    if (!hasModuleFile && isMissing) {
      fields.refuse("wasm", "is missing: send the module as a file, as in -F wasm=@task.wasm");
    }
    return undefined;
  }
  if (hasModuleFile) fields.refuse("module", "is given beside a wasm file: send one of the two");
  const digest = parseDigest(text.toLowerCase());
  if (digest === undefined) fields.refuse("module", `is ${shown(text)}, and a SHA-256 of 64 hex digits is expected`);
  return digest;
}

function parseDescription(fields: FormFields): string {
  const text = fields.text("description") ?? "";
  if (text.length > DESCRIPTION_LENGTH_MAX) {
    fields.refuse("description", `is ${text.length} characters long, and at most ${DESCRIPTION_LENGTH_MAX} are kept`);
  }
  return text;
}

type Schedule = Pick<
  Submission,
  "start" | "delayMs" | "repeats" | "durationMs" | "cron" | "timezone" | "overlap" | "catchup"
>;

function parseSchedule(fields: FormFields, { now, batch }: Pick<SubmissionParts, "now" | "batch">): Schedule {
  const cron = fields.filled("cron")?.trim();
  const start = parseStart(fields);
  const delayMs = fields.durationMs("delay") ?? 0;
  const repeats = fields.integer("repeats", { min: 0, max: REPEATS_MAX }) ?? (cron === undefined ? 1 : 0);
  const timezone = parseZone(fields);
  const catchup = fields.choice("catchup", CATCHUPS) ?? "latest";
  if (cron !== undefined) {
    refuseTimesBesideCron(fields, start, delayMs);
    const fault = (batch?.crons ?? new CronChecks(now)).fault(cron, timezone);
    if (fault !== undefined) fields.refuse("cron", fault);
  } else refuseCronFields(fields, timezone, catchup);
  if (cron === undefined && firstDueAt(start, now) + (totalRuns({ repeats }) - 1) * delayMs > TIME_MAX) {
    fields.refuse("repeats", "times delay ends after the year 9999: ask for fewer runs, or a shorter delay");
  }
  const overlap = fields.choice("overlap", OVERLAPS) ?? "allow";
  return { start, delayMs, repeats, durationMs: fields.durationMs("duration") ?? 0, cron, timezone, overlap, catchup };
}

function parseZone(fields: FormFields): string {
  const name = fields.filled("timezone");
  if (name === undefined) return "UTC";
  const timezone = parseTimezone(name);
  if (timezone !== undefined) return timezone;
  const closest = closestTimezone(name, timezoneNames());
  const hint =
    closest === undefined
      ? "a name of the IANA time zone database like Europe/Berlin or UTC is expected"
      : `there is no such time zone: did you mean ${closest}?`;
  fields.refuse("timezone", `is ${shown(name)}, and ${hint}`);
  return "UTC";
}

/** Refused rather than ignored, where they say something else than what holds anyhow. */
function refuseTimesBesideCron(fields: FormFields, start: Start, delayMs: number): void {
  const message = "is given beside cron, which says when runs are due: leave one out";
  if ("at" in start || start.afterMs > 0) fields.refuse("start", message);
  if (delayMs > 0) fields.refuse("delay", message);
}

/** The same the other way round. */
function refuseCronFields(fields: FormFields, timezone: string, catchup: Catchup): void {
  if (timezone !== "UTC") fields.refuse("timezone", "is for cron, which is not given: leave it out, or give cron");
  if (catchup !== "latest") fields.refuse("catchup", "is for cron, which is not given: leave it out, or give cron");
}

function parseStart(fields: FormFields): Start {
  const text = fields.filled("start") ?? "0";
  const afterMs = parseDuration(text);
  if (afterMs !== undefined && afterMs <= DURATION_MS_MAX) return { afterMs };
  const at = parseTime(text);
  if (at !== undefined) return { at };
  fields.refuse(
    "start",
    `is ${shown(text)}, and seconds from now, a duration like 500ms, 2s, 5m, 1h or 1d (at most 366d), or a time like 2030-01-31T12:00:00Z is expected`,
  );
  return { afterMs: 0 };
}

type Arguments = Pick<Submission, "input" | "difficulty" | "args" | "env" | "stdin">;

function parseArguments(fields: FormFields, stdinFile: Uint8Array | undefined): Arguments {
  const args = fields.list("args");
  const env = fields.pairs("env");
  if (args.length > ARGS_MAX) fields.refuse("args", `has ${args.length} values, and ${ARGS_MAX} are the most`);
  const names = Object.keys(env).length;
  if (names > ENV_MAX) fields.refuse("env", `has ${names} values, and ${ENV_MAX} are the most`);
  if (args.some(hasNul)) fields.refuse("args", "has a zero byte in it, which no argument can carry");
  if (Object.entries(env).flat().some(hasNul))
    fields.refuse("env", "has a zero byte in it, which no variable can carry");
  const stdin = parseStdin(fields, stdinFile);
  const bytes = stdin.length + byteLength(args) + byteLength(Object.entries(env).flat());
  if (bytes > SPEC_BYTES_MAX) {
    fields.refuse("stdin", `with args and env is ${bytes} bytes long, and ${SPEC_BYTES_MAX} are the most`);
  }
  return {
    input: fields.integer("input", INT32),
    difficulty: fields.integer("difficulty", INT32),
    args,
    env,
    stdin,
  };
}

function parseStdin(fields: FormFields, file: Uint8Array | undefined): Uint8Array {
  const text = fields.text("stdin");
  if (text !== undefined && file !== undefined) {
    fields.refuse("stdin", "is given as text and as a file: send one of the two");
  }
  const stdin = file ?? encoder.encode(text ?? "");
  if (stdin.length > STDIN_BYTES_MAX) {
    fields.refuse("stdin", `is ${stdin.length} bytes long, and ${STDIN_BYTES_MAX} are the most`);
  }
  return stdin;
}

type Limits = Pick<
  Submission,
  "timeoutMs" | "cpuMs" | "memoryBytes" | "outputBytesMax" | "outputLimit" | "retries" | "backoffMs" | "retryOn"
>;

function parseLimits(fields: FormFields): Limits {
  const timeoutMs = fields.durationMs("timeout", { minMs: 1 }) ?? TIMEOUT_MS_DEFAULT;
  return {
    timeoutMs,
    cpuMs: fields.durationMs("cpu", { minMs: 1 }) ?? timeoutMs,
    memoryBytes: (fields.integer("memory", { min: 1, max: MEMORY_MIB_MAX }) ?? MEMORY_MIB_DEFAULT) * MIB,
    outputBytesMax: fields.integer("outputMax", { min: 0, max: OUTPUT_BYTES_MAX }) ?? OUTPUT_BYTES_DEFAULT,
    outputLimit: fields.choice("outputLimit", OUTPUT_LIMITS) ?? "truncate",
    retries: fields.integer("retries", { min: 0, max: RETRIES_MAX }) ?? 0,
    backoffMs: fields.durationMs("backoff") ?? BACKOFF_MS_DEFAULT,
    retryOn: parseRetryOn(fields),
  };
}

function parseRetryOn(fields: FormFields): readonly RetryableKind[] {
  if (fields.all("retryOn").length === 0) return RETRYABLE_KINDS;
  const names = fields
    .list("retryOn")
    .flatMap((text) => text.split(","))
    .map((name) => name.trim());
  for (const name of names) {
    if (!RETRYABLE_KINDS.some((kind) => kind === name)) {
      fields.refuse("retryOn", `has ${shown(name)}, and one of ${RETRYABLE_KINDS.join(", ")} is expected`);
    }
  }
  return RETRYABLE_KINDS.filter((kind) => names.includes(kind));
}

function parseRequire(fields: FormFields): Readonly<Record<string, string>> {
  const labels = fields.pairs("require", { isOneEach: true });
  const count = Object.keys(labels).length;
  if (count > LABELS_MAX) fields.refuse("require", `names ${count} labels, and ${LABELS_MAX} are the most`);
  return labels;
}

function parseAfter(fields: FormFields): readonly TaskId[] {
  const texts = fields.list("after");
  if (texts.length > AFTER_MAX) fields.refuse("after", `names ${texts.length} tasks, and ${AFTER_MAX} are the most`);
  const ids = new Set<TaskId>();
  for (const text of texts.slice(0, AFTER_MAX)) {
    const id = parseTaskId(text);
    if (id === undefined) fields.refuse("after", `has ${shown(text)}, and a task's id is expected`);
    else if (ids.has(id)) fields.refuse("after", `has ${shown(text)} twice: name each task once`);
    else if (text === fields.all("id")[0]) fields.refuse("after", "names the task itself, which would wait for ever");
    else ids.add(id);
  }
  return Array.from(ids);
}

const encoder = new TextEncoder();

function byteLength(texts: readonly string[]): number {
  // One more for each: the zero byte that ends it in the guest's memory.
  return texts.reduce((sum, text) => sum + encoder.encode(text).length + 1, 0);
}

function hasNul(text: string): boolean {
  return text.includes("\0");
}
