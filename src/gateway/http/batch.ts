/**
 * `POST /tasks/batch`: many tasks in one transaction. All lines are checked before anything is stored; if one of them
 * cannot be accepted none is, and the refusal says all that is wrong with all of them, up to a limit (batch-checks.ts).
 * The answer has a line for each line.
 */
import type { Request, RequestHandler, Response } from "express";
import { BATCH_TYPES, batchLines } from "../../api/batch.ts";
import { taskSpec } from "../../api/submission.ts";
import { taskJson } from "../../api/task-json.ts";
import { within } from "../../base/tracing.ts";
import { assert } from "../../base/errors.ts";
import { parseDigest, parseTaskId } from "../../base/ids.ts";
import { BATCH_AFTER_MAX, BATCH_BYTES_MAX, BATCH_CRONS_MAX, BATCH_LINES_MAX } from "../../base/limits.ts";
import type { Task } from "../../model/task.ts";
import type { CreateTasksResult, NewTask, SubmissionKey } from "../../store/store.ts";
import type { Grant } from "../grant.ts";
import {
  type CheckedLine,
  type CheckedModule,
  checkFiles,
  checkIds,
  checkModules,
  readLines,
  soundSubmission,
  withFiles,
} from "./batch-checks.ts";
import { BatchErrors } from "./batch-errors.ts";
import { readBody } from "./body.ts";
import { drained } from "./drained.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";
import { requireTakingWork } from "./taking-work.ts";
import { batchFingerprint, keyMismatch, sha256, submissionKeyOf } from "./submission-key.ts";
import { digestsOf } from "./submitted-files.ts";
import { dependencyErrors, idTakenMessage } from "./submit.ts";

/**
 * One that says nothing of what it sends is believed too. Some are types that pages of other sites may send unasked: those
 * are refused for where they come from (access.ts), as they are with the forms of `POST /tasks`.
 */
const TYPES: ReadonlySet<string> = new Set(BATCH_TYPES);
const ANSWER_TYPE = "application/x-ndjson" satisfies (typeof BATCH_TYPES)[number];

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
  if (type !== undefined && type !== "" && !TYPES.has(type)) {
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
  const lines = batchLines(decodeText(body), { max: BATCH_LINES_MAX + 1 });
  if (lines.length > BATCH_LINES_MAX) {
    throw new Refusal("too-large", `The batch has more than ${BATCH_LINES_MAX} lines: send it in parts.`);
  }
  spendLines(grant, lines.length);
  const errors = new BatchErrors(lines.length);
  const readable = await readLines(lines, context.clock, errors);
  requireOneTransaction(readable);
  if (errors.isEmpty) await context.tasks.requireRoom(Math.max(1, lines.length));
  const checked = await withFiles(context, grant, readable, errors);
  const digests = checked.flatMap(({ submission }) =>
    [submission?.module ?? [], digestsOf(submission?.files ?? [])].flat(),
  );
  // As long as no task refers to them, nothing else keeps these modules and files from being removed.
  using _pins = await context.pins.pinAll([...new Set(digests)]);
  await checkFiles(context, checked, errors);
  const modules = await checkModules(context, checked, errors);
  if (!errors.isEmpty) {
    await checkIds(context, checked, errors);
    throw errors.refusal();
  }
  const now = context.clock.now();
  // It may have ended while the batch came in.
  grant.require("submit");
  const tasks = checked.map((line) => newTask(context, grant, line, modules.get(line), now));
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
      throw await refusedLines(context, checked, result.refusals);
  }
}

/**
 * The store tells of each line what it met first, and of what follows from that. What is said is all that is wrong, if that
 * is so still.
 */
async function refusedLines(
  context: HttpContext,
  lines: readonly CheckedLine[],
  refusals: Extract<CreateTasksResult, { readonly kind: "refused" }>["refusals"],
): Promise<Refusal> {
  const errors = new BatchErrors(lines.length);
  await checkIds(context, lines, errors);
  if (!errors.isEmpty) return errors.refusal();
  for (const { index, refusal } of refusals) {
    const line = lines[index];
    assert(line !== undefined, "a refusal is of one of the tasks");
    if (refusal.kind === "bad-dependencies") errors.add(line, "invalid-field", dependencyErrors(refusal));
    else errors.add(line, "id-taken", [{ field: "id", message: idTakenMessage(line.id ?? "") }]);
  }
  return errors.refusal();
}

/**
 * Refuses what would keep the store from everything else for long, as it is stored in one go. Lines with errors count too,
 * with what could be read of them: all that the lines name is looked up to say what is wrong.
 */
function requireOneTransaction(lines: readonly CheckedLine[]): void {
  const after = lines.reduce((sum, { submission }) => sum + (submission?.after.length ?? 0), 0);
  if (after > BATCH_AFTER_MAX) {
    throw new Refusal(
      "too-large",
      `The lines of the batch run after ${after} tasks in all, and ${BATCH_AFTER_MAX} are the most: send it in parts, or let many wait for one that runs after the others.`,
    );
  }
  const crons = new Set(
    lines.flatMap(({ submission }) =>
      submission?.cron === undefined ? [] : `${submission.timezone} ${submission.cron}`,
    ),
  );
  if (crons.size > BATCH_CRONS_MAX) {
    throw new Refusal(
      "too-large",
      `The batch has ${crons.size} different cron expressions, and ${BATCH_CRONS_MAX} are the most: send it in parts.`,
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

function newTask(
  { newId, traceparent }: BatchContext,
  grant: Grant,
  line: CheckedLine,
  checked: CheckedModule | undefined,
  now: number,
): NewTask {
  assert(checked !== undefined, "the module of a line without errors is known");
  const { inspection, entry } = checked;
  const submission = soundSubmission(line);
  const id = submission.id ?? parseTaskId(newId());
  assert(id !== undefined, "a UUID is a task id");
  const { module } = submission;
  const submitter = grant.actor;
  const kind = inspection?.kind;
  return { spec: taskSpec(submission, { id, submitter, module, kind, entry, now, traceparent }), inspection };
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
