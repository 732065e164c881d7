/** Run specifications, outcomes and worker states between model and wire (`schema/worker.capnp`). */
import { parseTraceparent } from "../base/tracing.ts";
import {
  ARGS_MAX,
  ENV_MAX,
  FIELD_BYTES_MAX,
  INPUT_FILES_BYTES_MAX,
  INPUT_FILES_MAX,
  KIND_LENGTH_MAX,
  LABELS_MAX,
  LABEL_LENGTH_MAX,
  MODULES_ADVERTISED_MAX,
  OUTPUT_GLOBS_MAX,
  OUTPUT_GLOB_LENGTH_MAX,
  REASON_LENGTH_MAX,
  SLOTS_MAX,
  STDIN_BYTES_MAX,
  SUBMITTER_LENGTH_MAX,
  TRACEPARENT_LENGTH_MAX,
  WORKER_KINDS_MAX,
} from "../base/limits.ts";
import { type Digest, parseTaskId } from "../base/ids.ts";
import {
  type AttemptId as WireAttemptId,
  type File as WireFile,
  type Outcome as WireOutcome,
  OutputLimit,
  type RunSpec as WireRunSpec,
  type WorkerState as WireWorkerState,
} from "../generated/worker.ts";
import { type Entry, parseCustomKind, parseEntry } from "../model/entry.ts";
import { compileGlob } from "../model/glob.ts";
import type { AttemptEnd, Outcome, Usage } from "../model/outcome.ts";
import type { AttemptId } from "../model/run.ts";
import type { RunEntry, RunSpec } from "../model/run-spec.ts";
import type { FileContent } from "../model/task-file.ts";
import type { WorkerState } from "../model/worker.ts";
import {
  DIGEST_BYTES,
  checkLength,
  decodeData,
  decodeDigest,
  decodeMeasure,
  decodePairs,
  decodeFilePath,
  decodeText,
  decodeTexts,
  decodeUint,
  digestOf,
  encodeData,
  encodeDigest,
  encodePairs,
  encodeTexts,
  invalidMessage,
} from "./scalars.ts";

export function encodeAttemptId(wire: WireAttemptId, id: AttemptId): void {
  wire.task = id.task;
  wire.serial = BigInt(id.serial);
  wire.run = id.run;
  wire.attempt = id.attempt;
}

export function decodeAttemptId(wire: WireAttemptId): AttemptId {
  const task = parseTaskId(wire.task);
  if (task === undefined) throw invalidMessage("a task id that is none");
  if (wire.run === 0 || wire.attempt === 0) throw invalidMessage("a run or attempt 0; they count from 1");
  return { task, serial: decodeUint(wire.serial, "serial"), run: wire.run, attempt: wire.attempt };
}

export function encodeRunSpec(wire: WireRunSpec, spec: RunSpec): void {
  encodeAttemptId(wire._initId(), spec.id);
  if (spec.module !== undefined) encodeDigest(wire._initModuleDigest(DIGEST_BYTES), spec.module);
  wire.moduleBytes = BigInt(spec.moduleBytes);
  encodeEntry(wire, spec.entry);
  const args = wire._initArgs(spec.args.length);
  spec.args.forEach((arg, index) => args.set(index, arg));
  encodePairs((length) => wire._initEnv(length), spec.env);
  encodeData(wire._initStdin(spec.stdin.length), spec.stdin);
  wire.timeoutMs = BigInt(Math.ceil(spec.timeoutMs));
  wire.cpuMs = BigInt(Math.ceil(spec.cpuMs));
  wire.memoryBytes = BigInt(spec.memoryBytes);
  wire.outputBytesMax = BigInt(spec.outputBytesMax);
  wire.outputLimit = spec.outputLimit === "fail" ? OutputLimit.FAIL : OutputLimit.TRUNCATE;
  wire.leaseMs = BigInt(spec.leaseMs);
  wire.submitter = spec.submitter;
  const files = wire._initFiles(spec.files.length);
  spec.files.forEach((file, index) => encodeFile(files.get(index), file));
  encodeTexts((length) => wire._initOutputs(length), spec.outputs);
  if (spec.traceparent !== undefined) wire.traceparent = spec.traceparent;
}

function encodeEntry(wire: WireRunSpec, entry: RunEntry): void {
  switch (entry.kind) {
    case "command":
      wire._initEntry().command = true;
      return;
    case "component":
      wire._initEntry().component = true;
      return;
    case "run": {
      const run = wire._initEntry()._initRun();
      run.input = entry.input;
      run.difficulty = entry.difficulty;
      return;
    }
    case "custom":
      wire._initEntry().custom = entry.name;
  }
}

export function decodeRunSpec(wire: WireRunSpec): RunSpec {
  const args: string[] = [];
  // Getting a list of a struct makes a new one each time.
  const list = wire.args;
  const argCount = checkLength(list, ARGS_MAX, "arguments");
  for (let index = 0; index < argCount; index++) args.push(decodeText(list.get(index), FIELD_BYTES_MAX, "an argument"));
  const entry = decodeEntry(wire);
  return {
    id: decodeAttemptId(wire.id),
    ...decodeModule(wire, entry),
    entry,
    args,
    env: decodePairs(wire.env, ENV_MAX, FIELD_BYTES_MAX, "environment variables"),
    stdin: decodeData(wire.stdin, STDIN_BYTES_MAX, "stdin"),
    timeoutMs: decodeUint(wire.timeoutMs, "timeout"),
    cpuMs: decodeUint(wire.cpuMs, "CPU time"),
    memoryBytes: decodeUint(wire.memoryBytes, "memory"),
    outputBytesMax: decodeUint(wire.outputBytesMax, "output limit"),
    outputLimit: decodeOutputLimit(wire.outputLimit),
    leaseMs: decodeUint(wire.leaseMs, "lease"),
    submitter: decodeText(wire.submitter, SUBMITTER_LENGTH_MAX, "a submitter"),
    files: decodeFiles(wire),
    outputs: decodeOutputs(wire),
    traceparent: parseTraceparent(decodeText(wire.traceparent, TRACEPARENT_LENGTH_MAX, "a trace context")),
  };
}

/** Only a custom entry does without. */
function decodeModule(wire: WireRunSpec, entry: RunEntry): Pick<RunSpec, "module" | "moduleBytes"> {
  const moduleBytes = decodeUint(wire.moduleBytes, "module bytes");
  const bytes = decodeData(wire.moduleDigest, DIGEST_BYTES, "a digest");
  if (bytes.length > 0 || entry.kind !== "custom") return { module: digestOf(bytes), moduleBytes };
  if (moduleBytes > 0) throw invalidMessage("a length of no module");
  return { moduleBytes };
}

function encodeFile(wire: WireFile, file: FileContent): void {
  wire.path = file.path;
  encodeDigest(wire._initDigest(DIGEST_BYTES), file.digest);
  wire.bytes = BigInt(file.bytes);
}

function decodeFiles(wire: WireRunSpec): FileContent[] {
  // Getting a list of a struct makes a new one each time.
  const list = wire.files;
  const count = checkLength(list, INPUT_FILES_MAX, "files");
  const files = Array.from({ length: count }, (_, index) => decodeFile(list.get(index)));
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > INPUT_FILES_BYTES_MAX)
    throw invalidMessage(`files of ${bytes} bytes; ${INPUT_FILES_BYTES_MAX} are allowed`);
  if (new Set(files.map(({ path }) => path)).size < count) throw invalidMessage("two files with one path");
  return files;
}

function decodeFile(wire: WireFile): FileContent {
  return {
    path: decodeFilePath(wire.path),
    digest: decodeDigest(wire.digest),
    bytes: decodeUint(wire.bytes, "a file's bytes"),
  };
}

function decodeOutputs(wire: WireRunSpec): string[] {
  const globs = decodeTexts(wire.outputs, OUTPUT_GLOBS_MAX, OUTPUT_GLOB_LENGTH_MAX, "globs");
  for (const glob of globs) if (!compileGlob(glob).ok) throw invalidMessage("a glob that is none");
  return globs;
}

function decodeOutputLimit(limit: OutputLimit): RunSpec["outputLimit"] {
  if (limit === OutputLimit.FAIL) return "fail";
  if (limit === OutputLimit.TRUNCATE) return "truncate";
  throw invalidMessage("an output limit that this version does not know");
}

function decodeEntry(wire: WireRunSpec): RunEntry {
  const { entry } = wire;
  if (entry._isCommand) return { kind: "command" };
  if (entry._isComponent) return { kind: "component" };
  if (entry._isCustom) {
    const name = parseCustomKind(decodeText(entry.custom, KIND_LENGTH_MAX, "a kind"));
    if (name === undefined) throw invalidMessage("a kind that is none");
    return { kind: "custom", name };
  }
  if (entry._isRun) return { kind: "run", input: entry.run.input, difficulty: entry.run.difficulty };
  throw invalidMessage("an entry that this version does not know");
}

export function encodeAttemptEnd(wire: WireOutcome, end: AttemptEnd): void {
  encodeOutcome(wire, end.outcome);
  if (end.value === undefined) wire._initValue().none = true;
  else wire._initValue().i32 = Number(end.value);
  const usage = wire._initUsage();
  usage.wallMs = end.usage.wallMs;
  usage.cpuMs = end.usage.cpuMs;
  usage.memoryBytes = BigInt(end.usage.memoryBytes);
  wire.outputBytes = BigInt(end.outputBytes);
  wire.outputTruncated = end.outputTruncated;
}

function encodeOutcome(wire: WireOutcome, outcome: Outcome): void {
  switch (outcome.kind) {
    case "exited":
      wire.exited = BigInt(outcome.code);
      return;
    case "trapped":
      wire.trapped = outcome.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "timed-out":
      wire.timedOut = outcome.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "memory-exceeded":
      wire.memoryExceeded = outcome.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "output-exceeded":
      wire.outputExceeded = true;
      wire.outputExceededBy = (outcome.reason ?? "").slice(0, REASON_LENGTH_MAX);
      return;
    case "cancelled":
      wire.cancelled = outcome.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "rejected":
      wire.rejected = outcome.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "lost":
      wire.lost = outcome.reason.slice(0, REASON_LENGTH_MAX);
  }
}

export function decodeAttemptEnd(wire: WireOutcome): AttemptEnd {
  return {
    outcome: decodeOutcome(wire),
    value: wire.value._isI32 ? String(wire.value.i32) : undefined,
    usage: decodeUsage(wire),
    outputBytes: decodeUint(wire.outputBytes, "output bytes"),
    outputTruncated: wire.outputTruncated,
  };
}

function decodeOutcome(wire: WireOutcome): Outcome {
  const reason = (text: string) => decodeText(text, REASON_LENGTH_MAX, "a reason");
  if (wire._isExited) return { kind: "exited", code: decodeExitCode(wire.exited) };
  if (wire._isTrapped) return { kind: "trapped", reason: reason(wire.trapped) };
  if (wire._isTimedOut) return { kind: "timed-out", reason: reason(wire.timedOut) };
  if (wire._isMemoryExceeded) return { kind: "memory-exceeded", reason: reason(wire.memoryExceeded) };
  if (wire._isOutputExceeded) {
    return { kind: "output-exceeded", ...(wire.outputExceededBy !== "" && { reason: reason(wire.outputExceededBy) }) };
  }
  if (wire._isCancelled) return { kind: "cancelled", reason: reason(wire.cancelled) };
  if (wire._isRejected) return { kind: "rejected", reason: reason(wire.rejected) };
  if (wire._isLost) return { kind: "lost", reason: reason(wire.lost) };
  throw invalidMessage("an outcome that this version does not know");
}

/** WASI exit codes are 32 bits. */
function decodeExitCode(code: bigint): number {
  if (code < -(2n ** 31n) || code >= 2n ** 32n) throw invalidMessage(`exit code ${code}`);
  return Number(code);
}

function decodeUsage(wire: WireOutcome): Usage {
  return {
    wallMs: decodeMeasure(wire.usage.wallMs, "wall time"),
    cpuMs: decodeMeasure(wire.usage.cpuMs, "CPU time"),
    memoryBytes: decodeUint(wire.usage.memoryBytes, "memory"),
  };
}

export function encodeWorkerState(wire: WireWorkerState, state: WorkerState): void {
  wire.slots = state.slots;
  wire.busy = state.busy;
  wire.weight = state.weight;
  encodePairs((length) => wire._initLabels(length), state.labels);
  wire.version = state.version;
  const modules = state.cachedModules.slice(0, MODULES_ADVERTISED_MAX);
  if (state.kinds !== undefined) encodeTexts((length) => wire._initKinds(length), state.kinds);
  encodeData(wire._initCachedModules(modules.length * DIGEST_BYTES), Buffer.from(modules.join(""), "hex"));
}

export function decodeWorkerState(wire: WireWorkerState): WorkerState {
  if (wire.slots > SLOTS_MAX) throw invalidMessage(`${wire.slots} slots; ${SLOTS_MAX} are allowed`);
  return {
    slots: wire.slots,
    busy: Math.min(wire.busy, wire.slots),
    weight: wire.weight,
    labels: decodePairs(wire.labels, LABELS_MAX, LABEL_LENGTH_MAX, "labels"),
    version: decodeText(wire.version, LABEL_LENGTH_MAX, "version"),
    kinds: decodeKinds(wire),
    cachedModules: decodeCachedModules(wire),
  };
}

/** Undefined: it does not say. */
function decodeKinds(wire: WireWorkerState): readonly Entry[] | undefined {
  const names = decodeTexts(wire.kinds, WORKER_KINDS_MAX, KIND_LENGTH_MAX, "kinds");
  if (names.length === 0) return undefined;
  return names.map((name) => {
    const kind = parseEntry(name);
    if (kind === undefined) throw invalidMessage("a kind that is none");
    return kind;
  });
}

function decodeCachedModules(wire: WireWorkerState): Digest[] {
  const bytes = decodeData(wire.cachedModules, MODULES_ADVERTISED_MAX * DIGEST_BYTES, "cached modules");
  const digests: Digest[] = [];
  for (let offset = 0; offset < bytes.length; offset += DIGEST_BYTES) {
    digests.push(digestOf(bytes.subarray(offset, offset + DIGEST_BYTES)));
  }
  return digests;
}
