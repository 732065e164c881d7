/**
 * Random histories of a store: what may be done to one, as values, so that two stores can be taken through the same. An action
 * names tasks by a few ids, and what is ready or under way by its place in a list, so that most of them hit something.
 */
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import { SUBMISSION_KEPT_MS } from "../../src/base/limits.ts";
import { type CustomKind, parseCustomKind } from "../../src/model/entry.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import { CATCHUPS, OVERLAPS } from "../../src/model/schedule.ts";
import { RETRYABLE_KINDS, type TaskSpec } from "../../src/model/task.ts";
import type { NewTask, SubmissionKey, SubmitterLimit } from "../../src/store/store.ts";
import { INSPECTION, WORKER_A, WORKER_B, attemptEnd, digest, taskId, taskSpec } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

export const IDS: readonly TaskId[] = ["a", "b", "c", "d", "e"].map(taskId);
export const DIGESTS: readonly Digest[] = ["1", "2", "3", "4"].map(digest);
export const PATHS: readonly string[] = ["out", "dir/out"];
export const WORKERS: readonly PeerId[] = [WORKER_A, WORKER_B];
export const SUBMITTERS: readonly string[] = ["token:a", "token:b"];
export const KEYS: readonly string[] = ["k1", "k2"];

/** Which attempt: the `place`-th of those that are ready, or under way, counted round; or the next or the last one of it. */
export interface AttemptChoice {
  readonly among: "ready" | "running";
  readonly place: number;
  /** Added to its number: not 0 for one that is not it. */
  readonly off: number;
}

/** What became that old, and is not older by more than the span. */
export interface Ageing {
  readonly ageMs: number;
  readonly spanMs: number;
  readonly limit: number;
}

export type Action =
  | {
      readonly kind: "submit";
      readonly task: DraftTask;
      readonly key?: DraftKey | undefined;
      readonly max?: number | undefined;
    }
  | {
      readonly kind: "batch";
      readonly tasks: readonly DraftTask[];
      readonly key?: DraftKey | undefined;
      readonly max?: number | undefined;
    }
  | { readonly kind: "promote"; readonly limit: number; readonly missedMs: number | undefined }
  | { readonly kind: "lease"; readonly which: AttemptChoice; readonly worker: PeerId; readonly leaseMs: number }
  | {
      readonly kind: "renew";
      readonly which: readonly AttemptChoice[];
      readonly worker: PeerId;
      readonly leaseMs: number;
    }
  | {
      readonly kind: "settle";
      readonly which: AttemptChoice;
      readonly end: AttemptEnd;
      readonly isBlameless: boolean;
      readonly backoffJitter: number;
    }
  | {
      readonly kind: "append";
      readonly which: AttemptChoice;
      readonly offset: number;
      readonly stream: OutputStream;
      readonly bytes: Uint8Array;
    }
  | {
      readonly kind: "keep-file";
      readonly which: AttemptChoice;
      readonly path: string;
      readonly digest: Digest;
      readonly hasBytes: boolean;
    }
  | { readonly kind: "extend-all"; readonly leaseMs: number }
  | { readonly kind: "cancel" | "delete"; readonly id: TaskId }
  | { readonly kind: "retry"; readonly id: TaskId; readonly max?: number | undefined }
  | ({ readonly kind: "forget" | "forget-runs" } & Ageing)
  | { readonly kind: "hold"; readonly digest: Digest }
  | ({ readonly kind: "release" } & Ageing)
  | { readonly kind: "drain"; readonly worker: PeerId; readonly isDrained: boolean }
  | { readonly kind: "admit"; readonly worker: PeerId; readonly admission: "admitted" | "barred" }
  | { readonly kind: "reopen" };

export interface DraftKey {
  readonly submitter: string;
  readonly key: string;
  readonly fingerprint: string;
}

export interface Step {
  /** Passes before it; negative where somebody sets the clock. */
  readonly waitMs: number;
  readonly action: Action;
  /** Everything there is to read is read after it. */
  readonly looks: boolean;
}

/** A task without what follows from the moment of its submission. */
export interface DraftTask {
  readonly startMs: number;
  readonly isStartTime: boolean;
  readonly changes: Partial<TaskSpec> & { readonly id: TaskId };
}

/** The task as it is when it is submitted now. */
export function newTask({ startMs, isStartTime, changes }: DraftTask, now: number): NewTask {
  const firstDueAt = now + startMs;
  // What is past can only be said as a time.
  const start = isStartTime || startMs < 0 ? new Date(firstDueAt).toISOString() : startMs / 1_000;
  return { spec: taskSpec(changes.id, { ...changes, start, firstDueAt }), inspection: INSPECTION };
}

/** Keys of one history are not those of another. */
export function submissionKey(draft: DraftKey | undefined, history: number): SubmissionKey | undefined {
  return draft && { ...draft, key: `${draft.key}-${history}` };
}

export function submitterLimit(max: number | undefined): SubmitterLimit | undefined {
  const [own = "", other = ""] = SUBMITTERS;
  if (max === undefined) return undefined;
  return {
    submitter: own,
    limits: [
      { submitters: [own], unfinishedMax: max },
      { submitters: [own, other], unfinishedMax: max + 1 },
    ],
  };
}

const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

const draftTask: fc.Arbitrary<DraftTask> = fc.record({
  startMs: fc.constantFrom(0, 0, 10, 1_000, -2_500),
  isStartTime: fc.boolean(),
  changes: fc
    .record({
      id: fc.constantFrom(...IDS),
      submitter: fc.constantFrom(...SUBMITTERS),
      module: fc.constantFrom(...DIGESTS.slice(0, 2)),
      files: fc.constantFrom([], [], [{ path: "in", digest: digest("3"), bytes: 3 }]),
      schedule: fc.oneof(
        {
          weight: 3,
          arbitrary: fc.record({ repeats: fc.nat({ max: 4 }), delayMs: fc.constantFrom(0, 0.5, 10, 1_000) }),
        },
        {
          weight: 1,
          arbitrary: fc.record({ repeats: fc.nat({ max: 2 }), cron: fc.constantFrom("* * * * * *", "* * * * *") }),
        },
      ),
      overlap: fc.constantFrom(...OVERLAPS),
      catchup: fc.constantFrom(...CATCHUPS),
      after: fc.oneof(
        { weight: 2, arbitrary: fc.constant([]) },
        { weight: 1, arbitrary: fc.uniqueArray(fc.constantFrom(...IDS), { maxLength: 3 }) },
      ),
      retries: fc.nat({ max: 2 }),
      backoffMs: fc.constantFrom(0, 10, 1_000),
      retryOn: fc.constantFrom(RETRYABLE_KINDS, RETRYABLE_KINDS, ["trapped"] as const),
      priority: fc.integer({ min: -1, max: 1 }),
      require: fc.constantFrom<Record<string, string>[]>({}, {}, { zone: "eu" }, { zone: "us", gpu: "yes" }),
      entry: fc.constantFrom<("command" | CustomKind)[]>("command", "command", "command", customKind("sql")),
      outputBytesMax: fc.constantFrom(10, 1_000_000),
    })
    .map(({ schedule, ...rest }) => ({ ...rest, ...schedule })),
});

/** Under few names, so that most of the submissions are in vain. */
const endlessTask: fc.Arbitrary<DraftTask> = fc
  .record({ task: draftTask, id: fc.constantFrom(...IDS.slice(0, 2)), overlap: fc.constantFrom(...OVERLAPS) })
  .map(({ task, id: own, overlap }) => {
    const changes = { id: own, overlap, cron: "* * * * * *", repeats: 0, after: [], priority: 0, require: {} };
    return { ...task, changes: { ...task.changes, ...changes } };
  });

function customKind(name: string): CustomKind {
  const kind = parseCustomKind(name);
  if (kind === undefined) throw new Error(`${name} is the name of a kind`);
  return kind;
}

const draftKey: fc.Arbitrary<DraftKey> = fc.record({
  submitter: fc.constantFrom(...SUBMITTERS),
  key: fc.constantFrom(...KEYS),
  fingerprint: fc.constantFrom("f1", "f1", "f2"),
});

const outcome: fc.Arbitrary<Outcome> = fc.constantFrom<Outcome[]>(
  { kind: "exited", code: 0 },
  { kind: "exited", code: 0 },
  { kind: "exited", code: 3 },
  { kind: "exited", code: 3 },
  { kind: "trapped", reason: "unreachable" },
  { kind: "timed-out", reason: "wall time" },
  { kind: "memory-exceeded", reason: "256 MiB" },
  { kind: "output-exceeded" },
  { kind: "cancelled", reason: "revoked" },
  { kind: "rejected", reason: "no entry" },
  { kind: "lost", reason: "gone" },
  { kind: "lost", reason: "gone" },
);

const end: fc.Arbitrary<AttemptEnd> = fc
  .record({ outcome, outputTruncated: fc.boolean(), value: some(fc.constant("7")) })
  .map(({ outcome: ended, ...changes }) => attemptEnd(ended, changes));

const choice = (among: AttemptChoice["among"]): fc.Arbitrary<AttemptChoice> =>
  fc.record({
    among: fc.oneof(
      { weight: 9, arbitrary: fc.constant(among) },
      { weight: 1, arbitrary: fc.constantFrom("ready", "running") },
    ),
    place: fc.nat({ max: 12 }),
    off: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(-1, 1) }),
  });

const worker = fc.constantFrom(...WORKERS);
const leaseMs = fc.constantFrom(10, 1_000, 60_000);
const id = fc.constantFrom(...IDS);
const max = some(fc.nat({ max: 4 }));

const spanMs = fc.constantFrom(Infinity, Infinity, 100, 5_000);

const forgetRuns: fc.Arbitrary<Action> = fc.record({
  kind: fc.constant("forget-runs" as const),
  ageMs: fc.constantFrom(-1, 1_000, 5_000),
  spanMs,
  limit: fc.integer({ min: 1, max: 3 }),
});

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("submit" as const), task: draftTask, key: some(draftKey), max }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("batch" as const),
      tasks: fc.array(draftTask, { maxLength: 3 }),
      key: some(draftKey),
      max,
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("promote" as const),
      limit: fc.oneof(
        { weight: 3, arbitrary: fc.constant(1_000) },
        { weight: 1, arbitrary: fc.integer({ min: 1, max: 4 }) },
      ),
      missedMs: fc.constantFrom(undefined, 0, 1_500),
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant("lease" as const), which: choice("ready"), worker, leaseMs }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("renew" as const),
      which: fc.array(choice("running"), { maxLength: 3 }),
      worker,
      leaseMs,
    }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("settle" as const),
      which: choice("running"),
      end,
      isBlameless: fc.boolean(),
      backoffJitter: fc.constantFrom(0, 0.5),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      which: choice("running"),
      offset: fc.nat({ max: 8 }),
      stream: fc.constantFrom<OutputStream[]>("stdout", "stderr"),
      bytes: fc.uint8Array({ maxLength: 8 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("keep-file" as const),
      which: choice("running"),
      path: fc.constantFrom(...PATHS),
      digest: fc.constantFrom(...DIGESTS.slice(2)),
      hasBytes: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("extend-all" as const), leaseMs }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("cancel" as const, "delete" as const), id }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("retry" as const), id, max }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("forget" as const),
      ageMs: fc.constantFrom(0, 100, 5_000),
      spanMs,
      limit: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: forgetRuns },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("hold" as const), digest: fc.constantFrom(...DIGESTS) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("release" as const),
      ageMs: fc.constantFrom(0, 5_000),
      spanMs,
      limit: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drain" as const), worker, isDrained: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("admit" as const),
      worker,
      admission: fc.constantFrom("admitted" as const, "barred" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
);

const first = (among: AttemptChoice["among"]): AttemptChoice => ({ among, place: 0, off: 0 });

/** What makes tasks without end go on for long, most of the time one run after the other. */
const endlessAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 2, arbitrary: action },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("submit" as const), task: endlessTask }) },
  { weight: 6, arbitrary: fc.constant({ kind: "promote", limit: 1_000, missedMs: undefined } as const) },
  { weight: 10, arbitrary: fc.constant({ kind: "lease", which: first("ready"), worker: WORKER_A, leaseMs: 60_000 }) },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant("settle" as const),
      which: fc.constant(first("running")),
      end: fc.oneof({ weight: 3, arbitrary: fc.constant(attemptEnd()) }, { weight: 1, arbitrary: end }),
      isBlameless: fc.constant(false),
      backoffJitter: fc.constant(0),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("keep-file" as const),
      which: fc.constant(first("running")),
      path: fc.constantFrom(...PATHS),
      digest: fc.constantFrom(...DIGESTS.slice(2)),
      hasBytes: fc.constant(true),
    }),
  },
  { weight: 3, arbitrary: forgetRuns },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("retry" as const), id: fc.constantFrom(...IDS.slice(0, 2)) }) },
);

/** One step in `lookEvery` looks at everything. */
const stepsOf = (actions: fc.Arbitrary<Action>, lengthMin: number, lookEvery: number): fc.Arbitrary<readonly Step[]> =>
  fc.array(
    fc.record({
      waitMs: fc.oneof(
        { weight: 10, arbitrary: fc.constantFrom(0, 0, 1, 10, 500, 1_000, 3_333) },
        { weight: 1, arbitrary: fc.constantFrom(-2_000, 70_000, SUBMISSION_KEPT_MS) },
      ),
      action: actions,
      looks: fc.oneof(
        { weight: lookEvery - 1, arbitrary: fc.constant(false) },
        { weight: 1, arbitrary: fc.constant(true) },
      ),
    }),
    { minLength: lengthMin, maxLength: 100, size: "max" },
  );

export const steps: fc.Arbitrary<readonly Step[]> = stepsOf(action, 20, 4);

/** Histories of tasks without end, of which old runs are forgotten. */
export const endlessSteps: fc.Arbitrary<readonly Step[]> = stepsOf(endlessAction, 80, 10);
