/** A MemoryStore's submissions: tasks made once for a key, and several of them at once. */
import { SUBMISSION_KEPT_MS } from "../../src/base/limits.ts";
import type { Task } from "../../src/model/task.ts";
import type {
  CreateTaskResult,
  CreateTasksResult,
  FoundSubmission,
  NewTask,
  SubmissionKey,
  SubmitterLimit,
} from "../../src/store/store.ts";
import { createTask, createTasks } from "./memory-store-creating.ts";
import type { Transaction } from "./memory-store-state.ts";
import { fullFor } from "./memory-store-tasks.ts";

export function findSubmission(tx: Transaction, key: SubmissionKey, now: number): FoundSubmission | undefined {
  const found = tx.state.submissions.get(nameOf(key));
  if (found === undefined || found.createdAt <= now - SUBMISSION_KEPT_MS) return undefined;
  if (found.fingerprint !== key.fingerprint) return { kind: "key-mismatch" };
  return { kind: "repeated", tasks: found.tasks };
}

function nameOf({ submitter, key }: SubmissionKey): string {
  return JSON.stringify([submitter, key]);
}

interface SubmitOptions {
  readonly key: SubmissionKey | undefined;
  readonly limit: SubmitterLimit | undefined;
}

export function submitTask(tx: Transaction, task: NewTask, now: number, options: SubmitOptions): CreateTaskResult {
  const { key, limit } = options;
  const found = key && findSubmission(tx, key, now);
  if (found?.kind === "key-mismatch") return found;
  if (found !== undefined) return { kind: "repeated", task: only(found.tasks) };
  const full = fullFor(tx, limit, 1);
  if (full !== undefined) return full;
  const created = createTask(tx, task, now);
  if (created.kind === "created" && key !== undefined) keepSubmission(tx, key, [created.task], now);
  return created;
}

export function submitTasks(
  tx: Transaction,
  tasks: readonly NewTask[],
  now: number,
  { key, limit }: SubmitOptions,
): CreateTasksResult {
  const found = key && findSubmission(tx, key, now);
  if (found !== undefined) return found;
  const full = fullFor(tx, limit, tasks.length);
  if (full !== undefined) return full;
  const before = tx.state;
  const made = createTasks(tx, tasks, now);
  if (made.kind === "refused") {
    tx.set(before);
    return made;
  }
  const told = made.created.map(({ task }) => task);
  if (key !== undefined) keepSubmission(tx, key, told, now);
  return { kind: "created", tasks: told, ready: made.created.map(({ ready }) => ready) };
}

function keepSubmission(tx: Transaction, key: SubmissionKey, tasks: readonly Task[], now: number): void {
  const submission = { fingerprint: key.fingerprint, createdAt: now, tasks };
  // What has had its time goes when the next one comes, and does not come back when the clock is set back.
  const kept = [...tx.state.submissions].filter(([, { createdAt }]) => createdAt > now - SUBMISSION_KEPT_MS);
  tx.set({ submissions: new Map(kept).set(nameOf(key), submission) });
}

function only<T>(values: readonly T[]): T {
  const [value] = values;
  if (value === undefined || values.length !== 1) throw new Error("one task was submitted");
  return value;
}
