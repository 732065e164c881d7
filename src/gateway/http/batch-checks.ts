/**
 * What can be known of the lines of a batch before any is stored, all of it at once: a line with a field that is wrong is
 * looked at further, as far as what is found does not follow from that field.
 */
import { type BatchLine, parseLine } from "../../api/batch.ts";
import { CronChecks } from "../../api/cron-checks.ts";
import { SUBMISSION_FIELDS, type Submission } from "../../api/submission.ts";
import type { Clock } from "../../base/clock.ts";
import { assert } from "../../base/errors.ts";
import type { Digest, TaskId } from "../../base/ids.ts";
import { BATCH_LOOKUP_TASKS } from "../../base/limits.ts";
import type { Entry } from "../../model/entry.ts";
import { type DependencyCycle, dependencyOrder } from "../../model/dependency-order.ts";
import type { ModuleInspection } from "../../model/module.ts";
import { totalRuns } from "../../model/task.ts";
import type { FoundTask, Store } from "../../store/store.ts";
import type { Grant } from "../grant.ts";
import type { BatchErrors, BatchPlace } from "./batch-errors.ts";
import { EventLoopTurns } from "./event-loop-turns.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";
import { dependencyErrors, entryOf, hasModule, idTakenMessage } from "./submit.ts";
import { findFiles, findMissing } from "./submitted-files.ts";

export interface CheckedLine extends BatchPlace {
  /** What could be read; undefined where that is nothing. */
  readonly submission: Submission | undefined;
  /** Fields of it that were refused. */
  readonly refused: ReadonlySet<string>;
}

/** Fields on which it depends which module is meant, and whether it can run. */
const MODULE_FIELDS: readonly string[] = ["module", "wasm", "entry"];
const ENTRY_FIELDS: readonly string[] = [...MODULE_FIELDS, "input", "difficulty", "memory"];

/** Fields on which it depends whether a task ends: beside cron, a first time or a delay may have been meant in its place. */
const END_FIELDS: readonly string[] = ["cron", "repeats", "start", "delay"];

/**
 * Reads all lines, as long as there is not more wrong with them than can be told. A line may take milliseconds, and there
 * are many: others have their turn in between.
 */
export async function readLines(
  lines: readonly BatchLine[],
  clock: Clock,
  errors: BatchErrors,
): Promise<readonly CheckedLine[]> {
  const read: CheckedLine[] = [];
  const now = clock.now();
  const shared = { now, crons: new CronChecks(now) };
  const turns = new EventLoopTurns(clock);
  for (const [index, { line, text }] of lines.entries()) {
    if (errors.hasEndedPass()) break;
    await turns.next();
    const result = parseLine({ text }, shared);
    const submission = result.ok ? result.submission : result.readable;
    const place = { line, index, id: submission?.id };
    if (!result.ok) errors.add(place, "invalid-field", result.errors);
    const refused = result.ok ? [] : result.errors.map(({ field }) => field);
    read.push({ ...place, submission, refused: new Set(refused) });
  }
  return read;
}

/** Nothing of the line that was refused can have been meant for one of these fields. */
function isSoundIn(line: CheckedLine, fields: readonly string[]): boolean {
  return !hasStrangers(line) && fields.every((field) => !line.refused.has(field));
}

/** A field that there is not may be any other, misspelt. */
function hasStrangers({ refused }: CheckedLine): boolean {
  return [...refused].some((field) => !SUBMISSION_FIELDS.includes(field));
}

/** What it would have been called nobody knows: its id cannot be read, or may be in a misspelt field. */
function mayHaveAnyId(line: CheckedLine): boolean {
  return line.submission === undefined || (line.id === undefined && !isSoundIn(line, ["id"]));
}

/** The lines with the kept files that they name. */
export async function withFiles(
  { store }: Pick<HttpContext, "store">,
  grant: Grant,
  lines: readonly CheckedLine[],
  errors: BatchErrors,
): Promise<readonly CheckedLine[]> {
  errors.beginPass("kept files");
  const known = new Set(lines.flatMap(({ id }) => id ?? []));
  const batch = { known, mayBeMore: lines.length < errors.lineCount || lines.some(mayHaveAnyId) };
  const located: CheckedLine[] = [];
  for (const line of lines) {
    const { submission } = line;
    // Where this pass has ended the others go on.
    const isWorthALook = !errors.hasEndedPass() && submission !== undefined && isSoundIn(line, ["files", "after"]);
    const found = isWorthALook ? await findFiles({ store, grant, batch }, submission) : undefined;
    if (found?.ok === false) errors.add(line, "invalid-field", found.errors);
    located.push(
      found?.ok === true && submission !== undefined
        ? { ...line, submission: { ...submission, files: found.files } }
        : line,
    );
  }
  return located;
}

/** Content that is gone. The caller has pinned what there is. */
export async function checkFiles(
  { blobs }: Pick<HttpContext, "blobs">,
  lines: readonly CheckedLine[],
  errors: BatchErrors,
): Promise<void> {
  errors.beginPass("the contents of kept files");
  for (const line of lines) {
    if (errors.hasEndedPass()) break;
    errors.add(line, "invalid-field", await findMissing(blobs, line.submission?.files ?? []));
  }
}

export interface CheckedModule {
  readonly inspection: ModuleInspection | undefined;
  readonly entry: Entry;
}

/** What each line runs, where that is known: of all lines where there is no error. */
export async function checkModules(
  context: Pick<HttpContext, "store" | "blobs" | "clock">,
  lines: readonly CheckedLine[],
  errors: BatchErrors,
): Promise<ReadonlyMap<CheckedLine, CheckedModule>> {
  errors.beginPass("modules");
  const inspections = new Map<Digest, ModuleInspection | undefined>();
  // Lines of one entry find the same of a module.
  const found = new Map<string, boolean>();
  const checked = new Map<CheckedLine, CheckedModule>();
  const turns = new EventLoopTurns(context.clock);
  for (const line of lines) {
    await turns.next();
    if (errors.hasEndedPass()) break;
    const { submission } = line;
    if (submission === undefined || MODULE_FIELDS.some((field) => line.refused.has(field))) continue;
    const { module } = submission;
    // An entry of a worker's own takes any bytes: it may be what a misspelt field was to say.
    const wantedEntry = hasStrangers(line) ? "?" : (submission.wantedEntry ?? "");
    if (module !== undefined && !inspections.has(module)) {
      inspections.set(module, (await context.store.getModule(module))?.inspection);
    }
    const inspection = module && inspections.get(module);
    if (module !== undefined) {
      const key = `${wantedEntry} ${module}`;
      const isThere =
        found.get(key) ??
        ((await hasModule(context, submission, module, inspection)) ||
          (wantedEntry === "?" && (await context.store.isBlobUsed(module))));
      found.set(key, isThere);
      if (!isThere) {
        const message = "names a module that this gateway does not have: send it with PUT /modules first";
        errors.add(line, "invalid-field", [{ field: "module", message }]);
        continue;
      }
    }
    if (!isSoundIn(line, ENTRY_FIELDS)) continue;
    try {
      checked.set(line, { inspection, entry: entryOf(submission, inspection, "module") });
    } catch (thrown) {
      if (!(thrown instanceof Refusal) || thrown.errors === undefined) throw thrown;
      errors.add(line, thrown.problem, thrown.errors);
    }
  }
  return checked;
}

/**
 * Ids that are taken, and tasks of `after` that are not there, never succeed or wait for each other, of all lines that could be
 * read, those with errors too. They name BATCH_AFTER_MAX tasks in `after` at most: the caller has seen to that.
 */
export async function checkIds(
  { store, clock }: IdsContext,
  lines: readonly CheckedLine[],
  errors: BatchErrors,
): Promise<void> {
  errors.beginPass("taken ids and missing tasks of after");
  const turns = new EventLoopTurns(clock);
  const named = await lookUp(store, lines, turns);
  const standing = (id: TaskId): "none" | "there" | "endless" => {
    const stored = named.stored.get(id);
    if (stored !== undefined) return stored.isEndless ? "endless" : "there";
    const line = named.lines.get(id);
    return line === undefined ? "none" : isWithoutEnd(line) ? "endless" : "there";
  };
  const mayBeAny = lines.length < errors.lineCount || lines.some(mayHaveAnyId);
  const cycles = cyclesOf(lines, named);
  for (const [place, line] of lines.entries()) {
    if (errors.hasEndedPass()) break;
    await turns.next();
    const { submission, id } = line;
    const after = submission?.after ?? [];
    const unknown = mayBeAny ? [] : after.filter((each) => standing(each) === "none");
    const endless = after.filter((each) => standing(each) === "endless");
    if (id !== undefined && (named.stored.has(id) || named.lines.get(id) !== line)) {
      errors.add(line, "id-taken", [{ field: "id", message: idTakenMessage(id) }]);
    }
    const cycle = cycles.get(place);
    errors.add(line, "invalid-field", dependencyErrors({ kind: "bad-dependencies", unknown, endless, cycle }));
  }
}

interface IdsContext {
  readonly store: Pick<Store, "findTasks">;
  readonly clock: Pick<Clock, "monotonicMs">;
}

/** What there is of all ids that the lines name. */
interface NamedTasks {
  readonly stored: ReadonlyMap<TaskId, FoundTask>;
  /** Of several lines with one id the first. */
  readonly lines: ReadonlyMap<TaskId, CheckedLine>;
}

async function lookUp(
  store: IdsContext["store"],
  lines: readonly CheckedLine[],
  turns: EventLoopTurns,
): Promise<NamedTasks> {
  const ids = new Set<TaskId>();
  const byId = new Map<TaskId, CheckedLine>();
  for (const line of lines) {
    await turns.next();
    if (line.id !== undefined) ids.add(line.id);
    if (line.id !== undefined && !byId.has(line.id)) byId.set(line.id, line);
    for (const each of line.submission?.after ?? []) ids.add(each);
  }
  const stored = new Map<TaskId, FoundTask>();
  const wanted = [...ids];
  for (let from = 0; from < wanted.length; from += BATCH_LOOKUP_TASKS) {
    const found = await store.findTasks(wanted.slice(from, from + BATCH_LOOKUP_TASKS));
    for (const task of found) stored.set(task.id, task);
  }
  return { stored, lines: byId };
}

function isWithoutEnd(line: CheckedLine): boolean {
  const { submission } = line;
  return submission !== undefined && isSoundIn(line, END_FIELDS) && totalRuns(submission) === Infinity;
}

/** By the places of their first lines. An id that is taken is wrong itself: whom it would mean nobody knows. */
function cyclesOf(lines: readonly CheckedLine[], { stored }: NamedTasks): ReadonlyMap<number, DependencyCycle["ids"]> {
  const tasks = lines.map(({ id, submission }) => ({
    id: id !== undefined && stored.has(id) ? undefined : id,
    after: submission?.after ?? [],
  }));
  const order = dependencyOrder(tasks);
  return new Map(order.kind === "cyclic" ? order.cycles.map(({ index, ids }) => [index, ids]) : []);
}

/** The submission of a line without errors. */
export function soundSubmission({ submission }: CheckedLine): Submission {
  assert(submission !== undefined, "a line without errors could be read");
  return submission;
}
