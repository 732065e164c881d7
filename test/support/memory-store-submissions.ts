/** A MemoryStore's submissions: tasks made once for a key, and several of them at once. */
import { BATCH_READY_RUNS_MAX, SUBMISSION_KEPT_MS } from "../../src/base/limits.ts";
import type {
  CreateTaskResult,
  CreateTasksResult,
  FoundSubmission,
  NewTask,
  SubmissionKey,
  SubmitterLimit,
} from "../../src/store/store.ts";
import type { Transaction } from "./memory-store-state.ts";
import { createTask, fullFor } from "./memory-store-tasks.ts";

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
  const result = submitTasks(tx, [task], now, options);
  switch (result.kind) {
    case "key-mismatch":
    case "submitter-full":
      return result;
    case "refused":
      return only(result.refusals).refusal;
    case "repeated":
      return { kind: "repeated", task: only(result.tasks) };
    case "created":
      return { kind: "created", task: only(result.tasks), ready: only(result.ready) };
  }
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
  let readyMax = BATCH_READY_RUNS_MAX;
  const made = tasks.map(({ spec, inspection }) => {
    const each = createTask(tx, spec, inspection, now, Math.max(1, readyMax));
    if (each.kind === "created") readyMax -= each.ready.length;
    return each;
  });
  const created = made.flatMap((each) => (each.kind === "created" ? [each] : []));
  if (created.length < made.length) {
    tx.set(before);
    const refusals = made.flatMap((refusal, index) => (refusal.kind === "created" ? [] : [{ index, refusal }]));
    return { kind: "refused", refusals };
  }
  const told = created.map(({ task }) => task);
  if (key !== undefined) {
    const submission = { fingerprint: key.fingerprint, createdAt: now, tasks: told };
    // What has had its time goes when the next one comes, and does not come back when the clock is set back.
    const kept = [...tx.state.submissions].filter(([, { createdAt }]) => createdAt > now - SUBMISSION_KEPT_MS);
    tx.set({ submissions: new Map(kept).set(nameOf(key), submission) });
  }
  return { kind: "created", tasks: told, ready: created.map(({ ready }) => ready) };
}

function only<T>(values: readonly T[]): T {
  const [value] = values;
  if (value === undefined || values.length !== 1) throw new Error("one task was submitted");
  return value;
}
