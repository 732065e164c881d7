/**
 * `POST /tasks`: receives the form, checks it and the module, and only then stores. What is refused leaves nothing
 * behind, and neither does a client that goes away before its form is complete. Submissions over RPC are accepted by the
 * same code (`acceptForm`).
 */
import type { Request, RequestHandler, Response } from "express";
import type { FieldError } from "../../api/problem.ts";
import { ROUTES } from "../../api/routes.ts";
import { type Submission, parseSubmission, taskSpec } from "../../api/submission.ts";
import { taskJson } from "../../api/task-json.ts";
import { type Digest, type TaskId, parseTaskId } from "../../base/ids.ts";
import { NO_TRACER, type Tracer, within } from "../../base/tracing.ts";
import { assert } from "../../base/errors.ts";
import { CYCLE_LINKS_SHOWN_MAX, MODULE_BYTES_MAX, REQUEST_BYTES_MAX } from "../../base/limits.ts";
import type { InspectOptions } from "../../inspect/inspector.ts";
import type { DependencyCycle } from "../../model/dependency-order.ts";
import { type Entry, isWasmEntry } from "../../model/entry.ts";
import type { ModuleInspection } from "../../model/module.ts";
import type { Task } from "../../model/task.ts";
import { checkImports } from "../../model/wasi-imports.ts";
import { checkRunnable } from "../../model/wasm-admission.ts";
import { checkEntry, checkLimits } from "../../model/wasm-inspect.ts";
import type { CreateTaskRefusal, SubmissionKey } from "../../store/store.ts";
import type { BlobWriter } from "../../store/blobs.ts";
import { type ReceivedForm, receiveForm, requestTooLarge } from "./form-upload.ts";
import type { Grant } from "../grant.ts";
import type { HttpContext } from "./http-context.ts";
import { requireTakingWork } from "./taking-work.ts";
import { ClientGone, Refusal, hasBody, invalidFields } from "./problem.ts";
import { commitFiles, digestsOf, findFiles, findMissing } from "./submitted-files.ts";
import { formFingerprint, keyMismatch, sha256, submissionKeyOf } from "./submission-key.ts";

/** A request is longer than its module by this much at most. */
const REQUEST_OVERHEAD_BYTES_MAX = REQUEST_BYTES_MAX - MODULE_BYTES_MAX;

export function submitTask(context: HttpContext): RequestHandler {
  return async (request: Request, response: Response) => {
    const grant = context.grants.get(request);
    assert(grant !== undefined, "only requests that passed come here");
    const key = submissionKeyOf(request);
    checkHead(request, context);
    grant.beginSubmit();
    using _slot = context.uploadSlots.take(grant);
    const gone = new AbortController();
    response.on("close", () => gone.abort(new ClientGone()));
    if (context.heldBack.delete(request)) response.writeContinue();
    // Nothing of the form is left when its sender is answered.
    const submit = { ...context, grant, parent: context.spans.get(request)?.traceparent };
    const { task, isRepeated } = await acceptRequest(submit, request, { signal: gone.signal, key });
    if (isRepeated) response.setHeader("idempotency-replayed", "true");
    response.status(201).location(ROUTES.task(task.spec.id)).json(taskJson(task, context.clock.now()));
  };
}

async function acceptRequest(
  context: HttpContext & SubmitContext,
  request: Request,
  options: AcceptOptions,
): Promise<Accepted> {
  await using form = await receiveForm(request, {
    ...uploadOptions(context),
    onBytes: (count) => context.grant.spendBytes(count),
  });
  return await acceptForm(context, form, options);
}

/** What can be said before the body is read. */
function checkHead(request: Request, context: HttpContext): void {
  requireTakingWork(context);
  const type = request.headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== "multipart/form-data") {
    const what = type === undefined || !hasBody(request) ? "without a form" : `as ${type.slice(0, 64)}`;
    throw new Refusal(
      "unsupported-media-type",
      `The task came ${what}: send it as multipart/form-data, as in curl -F wasm=@task.wasm -F id=task1.`,
      { headers: { accept: "multipart/form-data" } },
    );
  }
  const options = uploadOptions(context);
  if (Number(request.headers["content-length"] ?? 0) > options.requestBytesMax) throw requestTooLarge(options);
}

function uploadOptions(context: HttpContext): Parameters<typeof receiveForm>[1] {
  const { blobs, moduleBytesMax, uploadMemory: memory, clock } = context;
  return { blobs, moduleBytesMax, requestBytesMax: moduleBytesMax + REQUEST_OVERHEAD_BYTES_MAX, memory, clock };
}

/** What accepting a submission takes, however it came. */
export interface SubmitContext extends Pick<
  HttpContext,
  "store" | "blobs" | "pins" | "tasks" | "inspector" | "audit" | "clock" | "log" | "newId"
> {
  /** What the submission is made by, and whose it is. */
  readonly grant: Grant;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  /** The traceparent of what it is a part of. */
  readonly parent?: string | undefined;
  /** A module whose bytes the caller has pinned, and which no task may have used yet. */
  readonly pinned?: ((digest: Digest) => ModuleInspection | undefined) | undefined;
}

export interface AcceptOptions {
  readonly signal?: AbortSignal | undefined;
  /** By which the same submission is known again: it is made once. */
  readonly key?: string | undefined;
}

export interface Accepted {
  /** As it was when it was made. */
  readonly task: Task;
  /** The submission came before. */
  readonly isRepeated: boolean;
}

/**
 * Checks all of it and creates the task. The form stays the caller's. Rejects with a Refusal, or as the store does; with
 * the signal's reason while the module waits for its inspection.
 */
export async function acceptForm(
  context: SubmitContext,
  form: Omit<ReceivedForm, keyof AsyncDisposable>,
  { signal, key: keyText }: AcceptOptions = {},
): Promise<Accepted> {
  const { texts, stdinFile, module, files } = form;
  const key = keyText === undefined ? undefined : await submissionKey(context, form, keyText);
  const found = key && (await context.store.findSubmission(key, context.clock.now()));
  if (found?.kind === "key-mismatch") throw keyMismatch();
  const [made] = found?.tasks ?? [];
  if (made !== undefined) return { task: made, isRepeated: true };
  const hasModuleFile = module !== undefined;
  const parsed = parseSubmission({ texts, stdinFile, files, hasModuleFile, now: context.clock.now() });
  if (form.errors.length > 0 || !parsed.ok) {
    throw invalidFields([...form.errors, ...(parsed.ok ? [] : parsed.errors)]);
  }
  const located = await findFiles(context, parsed.submission);
  if (!located.ok) throw invalidFields(located.errors);
  const submission = { ...parsed.submission, files: located.files };
  const writers = files.flatMap(({ writer }) => writer ?? []);
  // With a key, it may be this very submission that has taken the id meanwhile: the store knows.
  if (submission.id !== undefined && key === undefined) await refuseTakenId(context, submission.id);
  const checked: Checked = { submission, writers, key };
  if (module !== undefined) {
    const finished = await module.finish();
    // Of an entry of a worker's own the module is any bytes: what they are is that worker's business.
    const inspection = hasOwnKind(submission)
      ? (await context.store.getModule(finished.digest))?.inspection
      : await inspectUpload(context, finished, { signal });
    return acceptUpload(context, checked, { writer: module, digest: finished.digest, inspection });
  }
  if (submission.module !== undefined) return acceptKnown(context, checked, submission.module);
  assert(hasOwnKind(submission), "a submission for WebAssembly has a module, as a file or by its digest");
  const entry = entryOf(submission, undefined, "module");
  return withPins(context, checked, undefined, () => createTask(context, checked, { entry }));
}

/** It is for a worker with an executor of its own. */
function hasOwnKind({ wantedEntry }: Submission): boolean {
  return wantedEntry !== undefined && !isWasmEntry(wantedEntry);
}

/** The key with all that was submitted by it. */
async function submissionKey(
  { grant }: SubmitContext,
  { texts, stdinFile, module, files: given }: Omit<ReceivedForm, keyof AsyncDisposable>,
  key: string,
): Promise<SubmissionKey> {
  const files = [];
  if (module !== undefined) files.push({ field: "wasm", name: "", digest: (await module.finish()).digest });
  if (stdinFile !== undefined) files.push({ field: "stdin", name: "", digest: sha256(stdinFile) });
  for (const { path, digest } of given) files.push({ field: "files", name: path, digest });
  return { submitter: grant.actor, key, fingerprint: formFingerprint(texts, files) };
}

/** Saves the upload of a module whose task cannot be; the store decides again. */
async function refuseTakenId({ store }: SubmitContext, id: TaskId): Promise<void> {
  if ((await store.getTask(id)) !== undefined) throw idTaken(id);
}

interface Upload {
  readonly writer: BlobWriter;
  readonly digest: Digest;
  readonly inspection: ModuleInspection | undefined;
}

/** A submission that is sound but for its module. */
interface Checked {
  readonly submission: Submission;
  /** Of the files that came with it. */
  readonly writers: readonly BlobWriter[];
  readonly key: SubmissionKey | undefined;
}

async function acceptUpload(context: SubmitContext, checked: Checked, upload: Upload): Promise<Accepted> {
  const { writer, digest, inspection } = upload;
  const entry = entryOf(checked.submission, inspection, "wasm");
  await context.tasks.requireRoom();
  return withPins(context, checked, digest, async () => {
    await writer.commit();
    return createTask(context, checked, { digest, inspection, entry });
  });
}

async function acceptKnown(context: SubmitContext, checked: Checked, digest: Digest): Promise<Accepted> {
  return withPins(context, checked, digest, async () => {
    const inspection = context.pinned?.(digest) ?? (await context.store.getModule(digest))?.inspection;
    if (!(await hasModule(context, checked.submission, digest, inspection))) {
      const message = "names a module that this gateway does not have: send the file as wasm";
      throw invalidFields([{ field: "module", message }]);
    }
    const entry = entryOf(checked.submission, inspection, "module");
    return await createTask(context, checked, { digest, inspection, entry });
  });
}

/** Whether the module that a submission names is there; of a worker's own kind, that is the bytes that some task uses. */
export async function hasModule(
  { blobs, store }: Pick<HttpContext, "blobs" | "store">,
  submission: Submission,
  digest: Digest,
  inspection: ModuleInspection | undefined,
): Promise<boolean> {
  await using blob = await blobs.open(digest);
  if (blob === undefined) return false;
  return inspection !== undefined || (hasOwnKind(submission) && (await store.isBlobUsed(digest)));
}

/** Holds module and files while `accept` makes the task that refers to them. If none is made, the bytes may go. */
async function withPins(
  context: SubmitContext,
  { submission }: Checked,
  module: Digest | undefined,
  accept: () => Promise<Accepted>,
): Promise<Accepted> {
  const files = digestsOf(submission.files);
  const digests = module === undefined ? files : [module, ...files];
  const pin = await context.pins.pinAll(digests);
  let isUsed = false;
  try {
    const accepted = await accept();
    // A twin of this submission was faster, and its task may be gone again.
    isUsed = !accepted.isRepeated;
    return accepted;
  } finally {
    pin[Symbol.dispose]();
    if (!isUsed) await context.pins.retireFreed({ digests, hasMore: false });
  }
}

interface CheckedModule {
  readonly digest?: Digest;
  readonly inspection?: ModuleInspection | undefined;
  readonly entry: Entry;
}

async function createTask(
  context: SubmitContext,
  { submission, writers, key }: Checked,
  { digest, inspection, entry }: CheckedModule,
): Promise<Accepted> {
  const missing = await findMissing(context.blobs, submission.files);
  if (missing.length > 0) throw invalidFields(missing);
  await commitFiles(writers);
  const id = submission.id ?? parseTaskId(context.newId());
  assert(id !== undefined, "a UUID is a task id");
  const now = context.clock.now();
  const { grant } = context;
  // It may have ended while the form came in.
  grant.require("submit");
  const submitter = grant.actor;
  const { tracer = NO_TRACER, parent } = context;
  const span = tracer.start("task submit", { parent, attributes: { "capmesh.task": id } });
  const { traceparent } = span;
  const kind = inspection?.kind;
  const spec = taskSpec(submission, { id, submitter, module: digest, kind, entry, now, traceparent });
  const options = { key, limit: grant.submitterLimit };
  const result = await within(span, () => context.tasks.submit(spec, inspection, now, options));
  switch (result.kind) {
    case "created":
      context.audit.record({ actor: submitter, action: "task.submitted", subject: id });
      return { task: result.task, isRepeated: false };
    case "repeated":
      return { task: result.task, isRepeated: true };
    case "key-mismatch":
      throw keyMismatch();
    case "id-taken":
      throw idTaken(id);
    case "bad-dependencies":
      throw invalidFields(dependencyErrors(result));
  }
}

/**
 * What an uploaded module is; one that a task has used before was inspected then. Rejects with a Refusal where the file
 * is no module.
 */
export async function inspectUpload(
  { store, inspector }: Pick<HttpContext, "store" | "inspector">,
  upload: { readonly path: string; readonly digest: Digest },
  options: InspectOptions = {},
): Promise<ModuleInspection> {
  const known = await store.getModule(upload.digest);
  if (known !== undefined) return known.inspection;
  const verdict = await inspector.inspectFile(upload.path, options);
  if (!verdict.ok) throw rejected("wasm", verdict.reason);
  return verdict.inspection;
}

/** The entry the task takes. Throws a Refusal where it is WebAssembly's and the module cannot run here. */
export function entryOf(submission: Submission, inspection: ModuleInspection | undefined, field: string): Entry {
  const { wantedEntry } = submission;
  if (wantedEntry !== undefined && !isWasmEntry(wantedEntry)) return wantedEntry;
  assert(inspection !== undefined, "a module of WebAssembly has been inspected");
  const imports = checkImports(inspection);
  if (!imports.ok) throw rejected(field, imports.reason);
  const hasRunArguments = submission.input !== undefined || submission.difficulty !== undefined;
  const entry = checkEntry(inspection, wantedEntry, hasRunArguments);
  if (!entry.ok) throw rejected(field, entry.reason);
  const limits = checkLimits(inspection, submission.memoryBytes);
  if (!limits.ok) throw rejected(field, limits.reason);
  return entry.entry;
}

/** Throws a Refusal where no task could run the module, whatever it said. */
export function checkUpload(inspection: ModuleInspection): void {
  const admission = checkRunnable(inspection);
  if (!admission.ok) throw rejected("wasm", admission.reason);
}

function rejected(field: string, reason: string): Refusal {
  return new Refusal("module-rejected", `The module cannot run here: ${reason}.`, {
    errors: [{ field, message: reason }],
  });
}

export function idTakenMessage(id: string): string {
  return `${JSON.stringify(id)} is taken: choose another id, leave it out, or delete that task first`;
}

function idTaken(id: TaskId): Refusal {
  const message = idTakenMessage(id);
  return new Refusal("id-taken", `The id ${message}.`, { errors: [{ field: "id", message }] });
}

export function dependencyErrors({
  unknown,
  endless,
  cycle,
}: Extract<CreateTaskRefusal, { readonly kind: "bad-dependencies" }>): readonly FieldError[] {
  return [
    ...unknown.map((id) => ({
      field: "after",
      message: `names ${id}, and there is no such task: submit that one first`,
    })),
    ...endless.map((id) => ({
      field: "after",
      message: `names ${id}, which runs until it is cancelled and so never succeeds: give it repeats, or leave it out`,
    })),
    ...(cycle === undefined ? [] : [{ field: "after", message: cycleMessage(cycle) }]),
  ];
}

function cycleMessage(cycle: DependencyCycle["ids"]): string {
  if (cycle.length === 1) return "names the task itself, which would wait for ever";
  const links = cycle.map((id, at) => `${id} runs after ${cycle[at + 1] ?? cycle[0]}`);
  const shown =
    links.length > CYCLE_LINKS_SHOWN_MAX
      ? [...links.slice(0, CYCLE_LINKS_SHOWN_MAX - 1), "…", ...links.slice(-1)]
      : links;
  return `makes a cycle of ${cycle.length} tasks, which would wait for ever: ${shown.join(", ")}; take one of these out`;
}
