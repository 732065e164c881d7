/**
 * What JSON in the file has to be before it is believed: JSON that parses and is something else is damage as well, and
 * would otherwise show as a failure far from its cause. It asks for the members that there are and for their types, no more:
 * members that a later version knows of pass, and so does what the values of an earlier one did not have.
 */
import { isRecord } from "../../base/json-shapes.ts";
import { parseEntry } from "../../model/entry.ts";
import type { ModuleInspection } from "../../model/module.ts";
import { OUTCOME_KINDS, type Outcome, type RunResult } from "../../model/outcome.ts";
import { CATCHUPS, OVERLAPS } from "../../model/schedule.ts";
import { TASK_STATES, type TaskSpec } from "../../model/task.ts";
import { DamagedRow, parseStored } from "./damaged-row.ts";
import type { TaskWire } from "./messages.ts";

type Test = (raw: unknown) => boolean;

const isText: Test = (raw) => typeof raw === "string";
const isNumber: Test = (raw) => typeof raw === "number";
const isFlag: Test = (raw) => typeof raw === "boolean";
const isTextList: Test = (raw) => Array.isArray(raw) && raw.every(isText);
const isTextRecord: Test = (raw) => isRecord(raw) && !Array.isArray(raw) && Object.values(raw).every(isText);

function oneOf(values: readonly unknown[]): Test {
  return (raw) => values.includes(raw);
}

function optional(test: Test): Test {
  return (raw) => raw === undefined || test(raw);
}

function listOf(test: Test): Test {
  return (raw) => Array.isArray(raw) && raw.every(test);
}

/** The member that is not what it has to be, by its name. */
function faultOf(raw: unknown, members: readonly (readonly [string, Test])[]): string | undefined {
  if (!isRecord(raw)) return "all of it";
  for (const [name, test] of members) if (!test(raw[name])) return name;
  return undefined;
}

function shape(members: Readonly<Record<string, Test>>): readonly (readonly [string, Test])[] {
  return Object.entries(members);
}

function whole(members: Readonly<Record<string, Test>>): Test {
  const tests = shape(members);
  return (raw) => faultOf(raw, tests) === undefined;
}

const REFERENCE = whole({ task: isText, path: isText, run: optional(isNumber) });
const CONTENT = whole({ path: isText, digest: isText, bytes: isNumber, from: optional(REFERENCE) });
const UNRESOLVED = whole({ path: isText, from: REFERENCE });

const isInputFile: Test = (raw) => isRecord(raw) && (raw["digest"] === undefined ? UNRESOLVED(raw) : CONTENT(raw));

/** Of a spec, but for what stands in columns of its own. */
const SPEC = shape({
  id: isText,
  traceparent: optional(isText),
  description: isText,
  module: optional(isText),
  kind: optional(oneOf(["core", "component"])),
  entry: (raw) => typeof raw === "string" && parseEntry(raw) !== undefined,
  input: optional(isNumber),
  difficulty: optional(isNumber),
  args: isTextList,
  env: isTextRecord,
  files: listOf(isInputFile),
  outputs: isTextList,
  complete: isNumber,
  durationMs: isNumber,
  firstDueAt: isNumber,
  start: (raw) => isNumber(raw) || isText(raw),
  delayMs: isNumber,
  repeats: isNumber,
  cron: optional(isText),
  timezone: isText,
  overlap: oneOf(OVERLAPS),
  catchup: oneOf(CATCHUPS),
  after: isTextList,
  timeoutMs: isNumber,
  cpuMs: isNumber,
  memoryBytes: isNumber,
  outputBytesMax: isNumber,
  outputLimit: oneOf(["truncate", "fail"]),
  retries: isNumber,
  backoffMs: isNumber,
  retryOn: isTextList,
  priority: isNumber,
  require: isTextRecord,
});

const EXTERN = whole({ name: isText, kind: isText, signature: optional(isText) });

const INSPECTION = shape({
  kind: oneOf(["core", "component"]),
  bytes: isNumber,
  codeBytes: isNumber,
  imports: listOf((raw) => EXTERN(raw) && isRecord(raw) && isText(raw["module"])),
  exports: listOf(EXTERN),
  memories: listOf(whole({ minPages: isNumber, maxPages: optional(isNumber), isShared: isFlag, is64: isFlag })),
  tables: listOf(whole({ minEntries: isNumber, maxEntries: optional(isNumber) })),
  hasStartFunction: isFlag,
});

const RESULT = shape({
  value: optional(isText),
  stdout: isText,
  stderr: isText,
  exitCode: optional(isNumber),
});

const COUNTS = whole({
  scheduled: isNumber,
  ready: isNumber,
  running: isNumber,
  succeeded: isNumber,
  failed: isNumber,
  cancelled: isNumber,
});

/** As it was told: but for its spec, and for what it had then for certain, or could not have. */
const TOLD_TASK = shape({
  serial: isNumber,
  createdAt: isNumber,
  firstDueAt: optional(isNumber),
  counts: COUNTS,
  isCancelled: isFlag,
  state: oneOf(TASK_STATES),
  nextRunAt: optional(isNumber),
  finishedAt: optional(isNumber),
  result: optional(isText),
  reason: optional(isText),
  runningSince: listOf(isNumber),
});

/** All of these throw DamagedRow. `raw` is the spec with what its columns and earlier versions make of it. */
export function decodeSpecShape(raw: unknown): TaskSpec {
  return decodeShape(raw, SPEC, "the spec of a task") as TaskSpec;
}

export function decodeStoredInspection(json: string): ModuleInspection {
  return decodeShape(parseStored(json), INSPECTION, "the inspection of a module") as ModuleInspection;
}

export function decodeStoredResult(json: string): RunResult {
  return decodeShape(parseStored(json), RESULT, "the result of a run") as RunResult;
}

export function decodeStoredTask(json: string): TaskWire {
  return decodeShape(parseStored(json), TOLD_TASK, "what a submission was told") as TaskWire;
}

export function decodeStoredOutcome(json: string): Outcome {
  const raw = parseStored(json);
  if (!isOutcome(raw)) throw new DamagedRow("an outcome is not what was written");
  return raw as Outcome;
}

function isOutcome(raw: unknown): boolean {
  if (!isRecord(raw) || !OUTCOME_KINDS.some((kind) => kind === raw["kind"])) return false;
  if (raw["kind"] === "exited") return isNumber(raw["code"]);
  return isText(raw["reason"]) || (raw["kind"] === "output-exceeded" && raw["reason"] === undefined);
}

function decodeShape(raw: unknown, members: readonly (readonly [string, Test])[], what: string): unknown {
  const fault = faultOf(raw, members);
  if (fault !== undefined) throw new DamagedRow(`${what} is not what was written (${fault})`);
  return raw;
}
