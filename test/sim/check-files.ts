/** G8 for files: what a guest that exited was to keep is kept, whole, and what a guest found was what its task was given. */
import type { TaskId } from "../../src/base/ids.ts";
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { FileContent, InputFile } from "../../src/model/task-file.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { type TaskRow, rememberedRuns } from "../support/memory-store-state.ts";
import { guestFiles } from "./guest-plan.ts";
import type { History, HistoryEvent, StoreLook } from "./history.ts";
import type { Tally } from "./tally.ts";

export function checkFiles(history: History, tally: Tally): readonly string[] {
  const kept = [...history.looks, history].flatMap((look) =>
    look.tasks.flatMap((task) => checkKept(look, task, tally)),
  );
  return [...kept, ...checkFound(history, tally), ...checkUnused(history)];
}

/** A blob goes with the last that refers to it; if the store was in trouble then, when the next gateway starts. */
function checkUnused({ events, tasks, blobs }: History): readonly string[] {
  if (events.some((event) => event.kind === "fault" && /^(trouble|break)-store/.test(event.what))) return [];
  const used = new Set<string | undefined>();
  for (const { spec, runs } of tasks) {
    used.add(spec.module);
    for (const { digest } of [...spec.files, ...runs.flatMap(({ keptFiles }) => keptFiles)]) used.add(digest);
  }
  const unused = [...blobs].filter((digest) => !used.has(digest));
  return unused.map((digest) => `leak: the blob ${digest.slice(0, 8)}, to which nothing refers`);
}

function checkKept({ blobs }: StoreLook, task: TaskRow, tally: Tally): readonly string[] {
  const found: string[] = [];
  for (const { index, outcome, keptFiles, attempts } of rememberedRuns(task)) {
    const where = `${task.spec.id} run ${index}`;
    const last: AttemptId = { task: task.spec.id, serial: task.serial, run: index, attempt: attempts.length };
    const wanted = outcome?.kind === "exited" && task.spec.outputs.length > 0 ? guestFiles(task.spec.args, last) : [];
    if (wanted.length > 0) tally.saw("G8: files are kept");
    if (show(keptFiles) !== show(wanted)) {
      found.push(`G8: of ${where} the files ${show(keptFiles)} are kept, not ${show(wanted)}`);
    }
    for (const { path, digest } of keptFiles) {
      if (!blobs.has(digest)) found.push(`G8: the content of ${path}, kept of ${where}, is gone`);
    }
  }
  const inputs = task.spec.files.filter(({ digest }) => digest !== undefined && !blobs.has(digest));
  return [
    ...found,
    ...inputs.map(({ path }) => `G1: the content of ${path}, which ${task.spec.id} came with, is gone`),
  ];
}

type RunMoved = Extract<HistoryEvent, { readonly kind: "run-moved" }>;

/** Files of an attempt that exited are kept when the run is over with it. */
function isKept({ to, attemptOutcome }: RunMoved): boolean {
  return attemptOutcome?.kind === "exited" && (to === "succeeded" || to === "failed");
}

/** What guests found in their folders. */
function checkFound({ events }: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const made = new Map<number, MadeTask>();
  /** By the task's serial: what may have been kept of runs that were over by then. */
  const kept = new Map<number, FileContent[]>();
  const began = new Set<string>();
  /** Tasks whose files may have gone. */
  const changed = new Set<string>();
  for (const event of events) {
    if (event.kind === "task-deleted" || event.kind === "task-retried") changed.add(event.task);
    if (event.kind === "task-made") {
      const { serial, spec } = event;
      made.set(serial, { spec, sources: new Map(spec.after.map((id, index) => [id, event.after[index]])) });
    }
    if (event.kind === "run-moved" && isKept(event)) {
      const { task, serial, run, attempt } = event;
      const files = guestFiles(made.get(serial)?.spec.args ?? [], { task, serial, run, attempt });
      kept.set(serial, [...(kept.get(serial) ?? []), ...files]);
    }
    if (event.kind === "run-moved" && event.attemptOutcome?.kind === "rejected") {
      const task = made.get(event.serial);
      const missing = task?.spec.files.some((input) => !isThere(input, task, kept) || isOf(input, changed));
      tally.saw("G8: a file that is refused is not there");
      if (missing !== true) found.push(`G8: ${event.task} run ${event.run} was refused files that are there`);
    }
    if (event.kind !== "guest-began" || began.has(attemptKey(event.id))) continue;
    began.add(attemptKey(event.id));
    const task = made.get(event.id.serial);
    const wanted = task?.spec.files ?? [];
    if (wanted.length > 0) tally.saw("G8: files are found");
    if (event.files.length !== wanted.length) {
      found.push(`G8: attempt ${attemptKey(event.id)} found ${event.files.length} of ${wanted.length} files`);
    }
    for (const file of event.files) {
      const input = wanted.find(({ path }) => path === file.path);
      if (input === undefined || !isRight(file, input, keptOf(input, task, kept))) {
        found.push(`G8: attempt ${attemptKey(event.id)} found something else as ${file.path}`);
      }
    }
  }
  return found;
}

interface MadeTask {
  readonly spec: TaskSpec;
  /** The tasks that had the names when it was made that it runs after. */
  readonly sources: ReadonlyMap<TaskId, number | undefined>;
}

type Kept = ReadonlyMap<number, readonly FileContent[]>;

/** What the task has kept that the file is to come from; an id may be used again. */
function keptOf({ from }: InputFile, task: MadeTask | undefined, kept: Kept): readonly FileContent[] {
  const serial = from && task?.sources.get(from.task);
  return (serial === undefined ? undefined : kept.get(serial)) ?? [];
}

function isThere(input: InputFile, task: MadeTask, kept: Kept): boolean {
  if (input.digest !== undefined) return true;
  const { path } = input.from;
  return keptOf(input, task, kept).some((each) => each.path === path);
}

function isOf({ from }: InputFile, tasks: ReadonlySet<string>): boolean {
  return from !== undefined && tasks.has(from.task);
}

function isRight(file: FileContent, input: InputFile, kept: readonly FileContent[]): boolean {
  if (input.digest !== undefined) return input.digest === file.digest;
  const { path } = input.from;
  return kept.some((each) => each.path === path && each.digest === file.digest);
}

function show(files: readonly FileContent[]): string {
  return files.map(({ path, digest, bytes }) => `${path} (${bytes} bytes, ${digest.slice(0, 8)})`).join(", ") || "none";
}
