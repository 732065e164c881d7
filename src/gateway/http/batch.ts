/**
 * `POST /tasks/batch`: many tasks in one transaction. All lines are checked before anything is stored; if one of them
 * cannot be accepted none is, and the refusal names every such line, up to a limit. The answer has a line for each line.
 */
import type { Request, RequestHandler, Response } from "express";
import { type BatchLine, batchLines, parseLine } from "../../api/batch.ts";
import { CronChecks } from "../../api/cron-checks.ts";
import type { FieldError, ProblemCode } from "../../api/problem.ts";
import { type Submission, taskSpec } from "../../api/submission.ts";
import { taskJson } from "../../api/task-json.ts";
import type { Clock } from "../../base/clock.ts";
import { within } from "../../base/tracing.ts";
import { assert } from "../../base/errors.ts";
import { type Digest, parseDigest, parseTaskId } from "../../base/ids.ts";
import {
  BATCH_AFTER_MAX,
  BATCH_BYTES_MAX,
  BATCH_CRONS_MAX,
  BATCH_ERRORS_MAX,
  BATCH_LINES_MAX,
} from "../../base/limits.ts";
import type { ModuleInspection } from "../../model/module.ts";
import type { Task } from "../../model/task.ts";
import type { CreateTaskRefusal, NewTask, SubmissionKey } from "../../store/store.ts";
import type { Grant } from "../grant.ts";
import { readBody } from "./body.ts";
import { drained } from "./drained.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";
import { requireTakingWork } from "./taking-work.ts";
import { batchFingerprint, keyMismatch, sha256, submissionKeyOf } from "./submission-key.ts";
import { digestsOf, findFiles, findMissing } from "./submitted-files.ts";
import { EventLoopTurns } from "./event-loop-turns.ts";
import { dependencyErrors, entryOf, hasModule, idTakenMessage } from "./submit.ts";

/** As lines of JSON are sent; one that says nothing of what it sends is believed. */
const TYPES: ReadonlySet<string> = new Set(["application/x-ndjson", "application/jsonl"]);
const ANSWER_TYPE = "application/x-ndjson";

export function submitBatch(context: HttpContext): RequestHandler {
  return async (request: Request, response: Response) => {
    const grant = context.grants.get(request);
    assert(grant !== undefined, "only requests that passed come here");
    const key = submissionKeyOf(request);
    checkHead(request, context);
    // How many submissions it is, its lines will tell.
    grant.beginSubmit(0);
    if (context.heldBack.delete(request)) response.writeContinue();
    using share = context.uploadMemory.openShare();
    const take = (bytes: number): boolean => {
      grant.spendBytes(bytes);
      // Its text, and what is read out of it, are there beside the bytes for a while.
      return share.take(3 * bytes);
    };
    const body = await readBody(request, { bytesMax: BATCH_BYTES_MAX, tooLarge, take });
    const span = context.tracer.start("task submit", { parent: context.spans.get(request)?.traceparent });
    const tasks = await within(span, () =>
      acceptBatch({ ...context, traceparent: span.traceparent }, grant, body, key),
    );
    await answer(context, response, tasks);
  };
}

function checkHead(request: Request, context: HttpContext): void {
  requireTakingWork(context);
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== undefined && !TYPES.has(type)) {
    throw new Refusal(
      "unsupported-media-type",
      `The batch came as ${type.slice(0, 64)}: send lines of JSON, as in curl -H 'Content-Type: ${ANSWER_TYPE}' --data-binary @tasks.ndjson.`,
      { headers: { accept: ANSWER_TYPE } },
    );
  }
  if (Number(request.headers["content-length"] ?? 0) > BATCH_BYTES_MAX) throw tooLarge();
}

function tooLarge(): Refusal {
  const mib = BATCH_BYTES_MAX / (1024 * 1024);
  return new Refusal("too-large", `The batch is larger than ${mib} MiB: send it in parts.`);
}

interface BatchContext extends HttpContext {
  /** Of what all its tasks are a part of. */
  readonly traceparent: string | undefined;
}

async function acceptBatch(
  context: BatchContext,
  grant: Grant,
  body: Uint8Array,
  keyText: string | undefined,
): Promise<readonly Task[]> {
  const key = keyText === undefined ? undefined : keyOf(grant, keyText, body);
  const found = key && (await context.store.findSubmission(key, context.clock.now()));
  if (found?.kind === "key-mismatch") throw keyMismatch();
  if (found !== undefined) {
    grant.beginSubmit();
    return found.tasks;
  }
  const lines = batchLines(decodeText(body));
  if (lines.length > BATCH_LINES_MAX) {
    throw new Refusal(
      "too-large",
      `The batch has ${lines.length} lines, and ${BATCH_LINES_MAX} are the most: send it in parts.`,
    );
  }
  spendLines(grant, lines.length);
  const parsedLines = await readLines(lines, context.clock);
  requireOneTransaction(parsedLines);
  await context.tasks.requireRoom(Math.max(1, lines.length));
  const submissions = await withFiles(context, grant, parsedLines);
  const digests = new Set(submissions.flatMap(({ submission }) => submission.module ?? []));
  const fileDigests = submissions.flatMap(({ submission }) => digestsOf(submission.files));
  // As long as no task refers to them, nothing else keeps these modules and files from being removed.
  using _pins = await context.pins.pinAll([...digests, ...fileDigests]);
  await requireFiles(context, submissions);
  const modules = await modulesOf(context, digests, submissions);
  const now = context.clock.now();
  // It may have ended while the batch came in.
  grant.require("submit");
  const tasks = checked(submissions, "module-rejected", (line) => newTask(context, grant, line, modules, now));
  const result = await context.tasks.submitAll(tasks, now, { key, limit: grant.submitterLimit });
  switch (result.kind) {
    case "created":
      for (const { spec } of result.tasks) {
        context.audit.record({ actor: grant.actor, action: "task.submitted", subject: spec.id });
      }
      return result.tasks;
    case "repeated":
      return result.tasks;
    case "key-mismatch":
      throw keyMismatch();
    case "refused":
      throw refusedLines(
        result.refusals.every(({ refusal }) => refusal.kind === "id-taken") ? "id-taken" : "invalid-field",
        result.refusals.flatMap(({ index, refusal }) => refusalErrors(refusal, submissions[index])),
        lines.length,
      );
  }
}

/** Each line is a submission. */
function spendLines(grant: Grant, lines: number): void {
  if (lines > grant.submitsMax) {
    throw new Refusal(
      "too-large",
      `The batch has ${lines} lines, and the token may submit ${Math.floor(grant.submitsMax)} tasks at once: send it in parts.`,
    );
  }
  grant.beginSubmit(Math.max(1, lines));
}

function keyOf(grant: Grant, key: string, body: Uint8Array): SubmissionKey {
  const digest = parseDigest(sha256(body));
  assert(digest !== undefined, "a SHA-256 is a digest");
  return { submitter: grant.actor, key, fingerprint: batchFingerprint(digest) };
}

function decodeText(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new Refusal("invalid-form", "The batch is no UTF-8 text: send lines of JSON.");
  }
}

interface LineSubmission {
  readonly line: number;
  readonly submission: Submission;
}

/**
 * Reads all lines, as long as there is not more wrong with them than can be told. A line may take milliseconds, and there
 * are many: others have their turn in between.
 */
async function readLines(lines: readonly BatchLine[], clock: Clock): Promise<readonly LineSubmission[]> {
  const read: LineSubmission[] = [];
  const errors: FieldError[] = [];
  const now = clock.now();
  const shared = { now, crons: new CronChecks(now) };
  const turns = new EventLoopTurns(clock);
  for (const line of lines) {
    await turns.next();
    const result = parseLine(line, shared);
    if (result.ok) read.push({ line: line.line, submission: result.submission });
    else errors.push(...result.errors);
    if (errors.length > BATCH_ERRORS_MAX) throw refusedLines("invalid-field", errors, lines.length, line.line);
  }
  if (errors.length > 0) throw refusedLines("invalid-field", errors, lines.length);
  return read;
}

/** Refuses what would keep the store from everything else for long, as it is stored in one go. */
function requireOneTransaction(lines: readonly LineSubmission[]): void {
  const after = lines.reduce((sum, { submission }) => sum + submission.after.length, 0);
  if (after > BATCH_AFTER_MAX) {
    throw new Refusal(
      "too-large",
      `The lines of the batch run after ${after} tasks in all, and ${BATCH_AFTER_MAX} are the most: send it in parts, or let many wait for one that runs after the others.`,
    );
  }
  const crons = new Set(
    lines.flatMap(({ submission: { cron, timezone } }) => (cron === undefined ? [] : `${timezone} ${cron}`)),
  );
  if (crons.size > BATCH_CRONS_MAX) {
    throw new Refusal(
      "too-large",
      `The batch has ${crons.size} different cron expressions, and ${BATCH_CRONS_MAX} are the most: send it in parts.`,
    );
  }
}

/** With the kept files that the lines name. */
async function withFiles(
  { store }: HttpContext,
  grant: Grant,
  lines: readonly LineSubmission[],
): Promise<readonly LineSubmission[]> {
  const batch = new Set(lines.flatMap(({ submission }) => submission.id ?? []));
  const located: LineSubmission[] = [];
  const errors: FieldError[] = [];
  for (const { line, submission } of lines) {
    const found = await findFiles({ store, grant, batch }, submission);
    if (found.ok) located.push({ line, submission: { ...submission, files: found.files } });
    else errors.push(...found.errors.map((error) => ({ ...error, line })));
    if (errors.length > BATCH_ERRORS_MAX) throw refusedLines("invalid-field", errors, lines.length, line);
  }
  if (errors.length > 0) throw refusedLines("invalid-field", errors, lines.length);
  return located;
}

async function requireFiles({ blobs }: HttpContext, lines: readonly LineSubmission[]): Promise<void> {
  const errors: FieldError[] = [];
  for (const { line, submission } of lines) {
    const missing = await findMissing(blobs, submission.files);
    errors.push(...missing.map((error) => ({ ...error, line })));
    if (errors.length > BATCH_ERRORS_MAX) throw refusedLines("invalid-field", errors, lines.length, line);
  }
  if (errors.length > 0) throw refusedLines("invalid-field", errors, lines.length);
}

interface KnownModules {
  readonly inspections: ReadonlyMap<Digest, ModuleInspection>;
  /** Lines whose module is not there. */
  readonly missing: ReadonlySet<LineSubmission>;
}

async function modulesOf(
  context: HttpContext,
  digests: ReadonlySet<Digest>,
  lines: readonly LineSubmission[],
): Promise<KnownModules> {
  const inspections = new Map<Digest, ModuleInspection>();
  for (const digest of digests) {
    const module = await context.store.getModule(digest);
    if (module !== undefined) inspections.set(digest, module.inspection);
  }
  const missing = new Set<LineSubmission>();
  // Lines of one entry find the same of a module.
  const found = new Map<string, boolean>();
  for (const line of lines) {
    const { module, wantedEntry = "" } = line.submission;
    if (module === undefined) continue;
    const key = `${wantedEntry} ${module}`;
    const isThere = found.get(key) ?? (await hasModule(context, line.submission, module, inspections.get(module)));
    found.set(key, isThere);
    if (!isThere) missing.add(line);
  }
  return { inspections, missing };
}

function newTask(
  { newId, traceparent }: BatchContext,
  grant: Grant,
  line: LineSubmission,
  { inspections, missing }: KnownModules,
  now: number,
): NewTask {
  const { submission } = line;
  const { module } = submission;
  const inspection = module && inspections.get(module);
  if (missing.has(line)) {
    const message = "names a module that this gateway does not have: send it with PUT /modules first";
    throw new Refusal("invalid-field", message, { errors: [{ field: "module", message }] });
  }
  const id = submission.id ?? parseTaskId(newId());
  assert(id !== undefined, "a UUID is a task id");
  const entry = entryOf(submission, inspection, "module");
  const spec = taskSpec(submission, {
    id,
    submitter: grant.actor,
    module,
    kind: inspection?.kind,
    entry,
    now,
    traceparent,
  });
  return { spec, inspection };
}

/** What `make` makes of each line. Throws a refusal of all lines for which it throws one; of `code`, if all of them are. */
function checked<T>(
  submissions: readonly LineSubmission[],
  code: ProblemCode,
  make: (submission: LineSubmission) => T,
): readonly T[] {
  const errors: FieldError[] = [];
  let sharedCode: ProblemCode | undefined = code;
  const made: T[] = [];
  for (const each of submissions) {
    try {
      made.push(make(each));
    } catch (thrown) {
      if (!(thrown instanceof Refusal) || thrown.errors === undefined) throw thrown;
      if (thrown.problem !== code) sharedCode = undefined;
      errors.push(...thrown.errors.map((error) => ({ ...error, line: each.line })));
    }
  }
  if (errors.length > 0) throw refusedLines(sharedCode ?? "invalid-field", errors, submissions.length);
  return made;
}

function refusalErrors(refusal: CreateTaskRefusal, at: LineSubmission | undefined): readonly FieldError[] {
  assert(at !== undefined, "a refusal is of one of the tasks");
  const { line, submission } = at;
  if (refusal.kind === "bad-dependencies") return dependencyErrors(refusal).map((error) => ({ ...error, line }));
  return [{ field: "id", message: idTakenMessage(submission.id ?? ""), line }];
}

/** `readTo`: the line after which no other was looked at, where some were not. */
function refusedLines(code: ProblemCode, errors: readonly FieldError[], lineCount: number, readTo?: number): Refusal {
  const lines = new Set(errors.map(({ line }) => line));
  const shown = errors.slice(0, BATCH_ERRORS_MAX);
  const sentences = shown.map(({ line, field, message }) => `line ${line ?? 0}: ${field} ${message}`);
  const more =
    errors.length > shown.length ? `; and ${readTo === undefined ? `${errors.length - shown.length} ` : ""}more` : "";
  const unread = readTo === undefined ? "" : `; what comes after line ${readTo} was not looked at`;
  const count = `${readTo === undefined ? "" : "at least "}${lines.size} of ${lineCount} lines`;
  const detail = `${count} cannot be accepted, so none is: ${sentences.join("; ")}${more}${unread}`;
  return new Refusal(code, detail, { errors: shown });
}

async function answer({ clock }: HttpContext, response: Response, tasks: readonly Task[]): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  response.status(200).setHeader("content-type", ANSWER_TYPE);
  const now = clock.now();
  for (const task of tasks) {
    response.write(`${JSON.stringify(taskJson(task, now))}\n`);
    await drained(response, { clock, signal: gone.signal, onStall: () => response.destroy() });
    if (gone.signal.aborted) return;
  }
  response.end();
}
