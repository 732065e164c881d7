/** Specs and ends for the tests of the store: plain ones, of which a test changes what it is about. */
import { assert } from "../../src/base/errors.ts";
import { type Digest, type PeerId, type TaskId, parseDigest, parsePeerId, parseTaskId } from "../../src/base/ids.ts";
import type { ModuleInspection } from "../../src/model/module.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { RETRYABLE_KINDS, type Task, type TaskSpec } from "../../src/model/task.ts";
import type { Store } from "../../src/store/store.ts";

/** When the tests' clock begins. */
export const T0 = 1_800_000_000_000;

export function taskId(text: string): TaskId {
  const id = parseTaskId(text);
  assert(id !== undefined, `${text} is a task's id`);
  return id;
}

/** `digit` makes modules differ. */
export function digest(digit = "a"): Digest {
  const parsed = parseDigest(digit.repeat(64));
  assert(parsed !== undefined, `${digit} is a hex digit`);
  return parsed;
}

export function peerId(name: string): PeerId {
  const parsed = parsePeerId(`12D3KooW${name}${"x".repeat(36)}`);
  assert(parsed !== undefined, `${name} is base58`);
  return parsed;
}

export const WORKER_A = peerId("A");
export const WORKER_B = peerId("B");

export const INSPECTION: ModuleInspection = {
  kind: "core",
  bytes: 123,
  codeBytes: 45,
  imports: [{ module: "wasi_snapshot_preview1", name: "fd_write", kind: "function" }],
  exports: [{ name: "run", kind: "function", signature: "(i32,i32)->(i32)" }],
  memories: [{ minPages: 1, isShared: false, is64: false, isImported: false }],
  tables: [],
  hasStartFunction: false,
};

export function taskSpec(id: string, changes: Partial<TaskSpec> = {}): TaskSpec {
  return {
    id: taskId(id),
    submitter: "local",
    description: "",
    module: digest(),
    kind: "core",
    entry: "command",
    args: [],
    env: {},
    stdin: new Uint8Array(),
    files: [],
    outputs: [],
    complete: 0,
    durationMs: 0,
    firstDueAt: T0,
    start: 0,
    delayMs: 0,
    repeats: 1,
    timezone: "UTC",
    overlap: "allow",
    catchup: "latest",
    after: [],
    timeoutMs: 300_000,
    cpuMs: 300_000,
    memoryBytes: 256 * 1024 * 1024,
    outputBytesMax: 1024 * 1024,
    outputLimit: "truncate",
    retries: 0,
    backoffMs: 1_000,
    retryOn: RETRYABLE_KINDS,
    priority: 0,
    require: {},
    ...changes,
  };
}

export function attemptEnd(
  outcome: Outcome = { kind: "exited", code: 0 },
  changes: Partial<AttemptEnd> = {},
): AttemptEnd {
  return {
    outcome,
    usage: { wallMs: 12.5, cpuMs: 11, memoryBytes: 65_536 },
    outputBytes: 0,
    outputTruncated: false,
    ...changes,
  };
}

export const LOST: AttemptEnd = attemptEnd({ kind: "lost", reason: "the connection closed" });
export const FAILED: AttemptEnd = attemptEnd({ kind: "exited", code: 3 });

export function attemptOf(task: Task, run = 1, attempt = 1): AttemptId {
  return { task: task.spec.id, serial: task.serial, run, attempt };
}

export async function create(store: Store, spec: TaskSpec, now = T0): Promise<Task> {
  const created = await store.createTask(spec, INSPECTION, now);
  assert(created.kind === "created", `${spec.id} is free`);
  return created.task;
}

/** A task with its first run under way on WORKER_A. */
export async function createRunning(
  store: Store,
  spec: TaskSpec,
  now = T0,
): Promise<{ task: Task; attempt: AttemptId }> {
  const task = await create(store, spec, now);
  const attempt = attemptOf(task);
  assert(await store.lease(attempt, WORKER_A, now, now + 15_000), "the first run is ready");
  return { task, attempt };
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
