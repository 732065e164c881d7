/**
 * The typed client of the HTTP API, for browsers and Node alike: it needs `fetch` and nothing else.
 *
 * A refusal of the gateway is thrown as `ApiError`; a gateway that cannot be reached, or that goes away in the middle of
 * an answer, as a ClusterError `disconnected` with code `unreachable`; an aborted signal as its reason. Nothing is
 * retried but the reading of logs and the wait for a task.
 */
import { z } from "zod";
import { type EventJson, eventSchema } from "../api/event-json.ts";
import { type ExplanationJson, explanationSchema } from "../api/explanation.ts";
import { type KeptFileJson, keptFileSchema } from "../api/file-json.ts";
import { type ModuleJson, moduleSchema } from "../api/module-json.ts";
import { ROUTES } from "../api/routes.ts";
import { type RunJson, runSchema } from "../api/run-json.ts";
import { SUBMISSION_KEY_EXPECTED, SUBMISSION_KEY_HEADER, parseSubmissionKey } from "../api/submission-key.ts";
import { type TaskJson, hasFinished, taskSchema } from "../api/task-json.ts";
import { type RotatedSecretJson, rotatedSecretSchema } from "../api/secret-json.ts";
import {
  type AuditEntryJson,
  type MadeTokenJson,
  type TokenJson,
  type TokenRequest,
  auditEntrySchema,
  madeTokenSchema,
  tokenSchema,
} from "../api/token-json.ts";
import { type MemberJson, type WorkerJson, memberSchema, workerSchema } from "../api/worker-json.ts";
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { ClusterError, failed } from "../base/errors.ts";
import {
  CLIENT_PAGE_LENGTH,
  CLIENT_WAIT_MS,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
  RECONNECT_MS_MAX_DEFAULT,
} from "../base/limits.ts";
import { systemClock } from "../base/system-clock.ts";
import { type BatchFields, batchText, parseBatchAnswer } from "./batch-lines.ts";
import { HttpExchange } from "./http-exchange.ts";
import { type LogChunk, type LogOptions, readLog } from "./log-reader.ts";
import { type SseReaderInit, parseEventData, readSse } from "./sse-reader.ts";
import { type SubmitFields, submitForm } from "./submit-form.ts";

export interface ClientInit {
  /** Of the gateway: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /** Default: the global one. */
  readonly fetch?: typeof fetch | undefined;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** How long `logs` and `waitForTask` try to reach a gateway that went away. Default: one minute. */
  readonly reconnectMsMax?: number | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends CallOptions {
  /**
   * Makes it safe to submit the same again when it is not known whether it arrived: within a day it is made once. 1 to 255
   * printable ASCII characters, a UUID say.
   */
  readonly idempotencyKey?: string | undefined;
}

export interface ListTasksOptions extends CallOptions {
  readonly state?: string | undefined;
  /** Tasks in all. Default: every one. */
  readonly limit?: number | undefined;
}

export class CapmeshClient {
  readonly #exchange: HttpExchange;
  readonly #clock: Clock;
  readonly #reconnectMsMax: number;

  /** Throws `failed`, code `invalid-url`, for a URL that is none. */
  constructor(init: ClientInit) {
    this.#exchange = new HttpExchange(init);
    this.#clock = init.clock ?? systemClock;
    this.#reconnectMsMax = init.reconnectMsMax ?? RECONNECT_MS_MAX_DEFAULT;
  }

  /** Resolves once the task is durable. */
  async submit(fields: SubmitFields, { idempotencyKey, signal }: SubmitOptions = {}): Promise<TaskJson> {
    const headers = keyHeaders(idempotencyKey);
    return this.#exchange.json(ROUTES.tasks, taskSchema, { method: "POST", headers, body: submitForm(fields), signal });
  }

  /**
   * Submits many in one transaction: all are made, or none. Resolves with the tasks, in their order, once they are durable.
   * The `errors` of a refusal say of which `line` they are, from 1.
   */
  async submitBatch(
    tasks: readonly BatchFields[],
    { idempotencyKey, signal }: SubmitOptions = {},
  ): Promise<TaskJson[]> {
    const headers = { ...keyHeaders(idempotencyKey), "content-type": "application/x-ndjson" };
    const body = batchText(tasks);
    const response = await this.#exchange.open(ROUTES.batch, { method: "POST", headers, body, signal });
    const made = parseBatchAnswer(await this.#exchange.text(response, signal), tasks.length);
    if (made === undefined) throw this.#exchange.badAnswer();
    return made;
  }

  getTask(id: string, { signal }: CallOptions = {}): Promise<TaskJson> {
    return this.#exchange.json(ROUTES.task(id), taskSchema, { signal });
  }

  /** Newest first, page by page as they are asked for. */
  listTasks({ state, limit = Infinity, signal }: ListTasksOptions = {}): AsyncGenerator<TaskJson, void> {
    return this.#pages(ROUTES.tasks, taskSchema, { state }, limit, signal);
  }

  /** By index, ascending. */
  listRuns(id: string, { signal }: CallOptions = {}): AsyncGenerator<RunJson, void> {
    return this.#pages(ROUTES.runs(id), runSchema, {}, Infinity, signal);
  }

  getRun(id: string, index: number, { signal }: CallOptions = {}): Promise<RunJson> {
    return this.#exchange.json(ROUTES.run(id, index), runSchema, { signal });
  }

  /** Files that were kept of a run, by path. */
  listFiles(id: string, run: number, { signal }: CallOptions = {}): Promise<KeptFileJson[]> {
    return this.#exchange.json(ROUTES.files(id, run), z.array(keptFileSchema), { signal });
  }

  /** A kept file's bytes as they come. The stream is the caller's to read or cancel. */
  async readFile(
    id: string,
    run: number,
    path: string,
    { signal }: CallOptions = {},
  ): Promise<ReadableStream<Uint8Array>> {
    const { body } = await this.#exchange.open(ROUTES.file(id, run, path), { signal });
    return body ?? new ReadableStream({ start: (controller) => controller.close() });
  }

  /** Pieces of text in the order in which they arrived. Goes on over lost connections, without gap or repeat. */
  logs(id: string, options: LogOptions = {}): AsyncGenerator<LogChunk, void> {
    return readLog(this.#sseReader(), id, options);
  }

  /**
   * Every change of a task, a run or a worker, from now on, as it happens. Goes on over lost connections; `reset` says that
   * some were missed: read everything anew. Ends when the caller stops reading.
   */
  async *events({ signal }: CallOptions = {}): AsyncGenerator<EventJson, never> {
    for await (const event of readSse(this.#sseReader(), { path: ROUTES.events, signal })) {
      // What a newer gateway tells, and this client does not know, is passed over.
      const parsed = eventSchema.safeParse(parseEventData(event));
      if (parsed.success) yield parsed.data;
    }
    throw new Error("a stream of events has no end");
  }

  /** The log's bytes so far, as they are. */
  async rawLog(
    id: string,
    options: Pick<LogOptions, "run" | "stream" | "offset" | "signal"> = {},
  ): Promise<Uint8Array> {
    const { run, stream, offset, signal } = options;
    const response = await this.#exchange.open(ROUTES.logs(id), { query: { run, stream, offset }, signal });
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (thrown) {
      throw this.#exchange.unreachable(thrown, signal);
    }
  }

  /** Resolves with the task once the cancellation is durable. */
  cancel(id: string, { signal }: CallOptions = {}): Promise<TaskJson> {
    return this.#exchange.json(ROUTES.cancel(id), taskSchema, { method: "POST", signal });
  }

  /** Why the task is where it is. */
  explain(id: string, { signal }: CallOptions = {}): Promise<ExplanationJson> {
    return this.#exchange.json(ROUTES.explain(id), explanationSchema, { signal });
  }

  /** Its failed and cancelled runs run again. Resolves with the task once that is durable. */
  retry(id: string, { signal }: CallOptions = {}): Promise<TaskJson> {
    return this.#exchange.json(ROUTES.retry(id), taskSchema, { method: "POST", signal });
  }

  /** Cancels and forgets the task. */
  delete(id: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#command(ROUTES.task(id), "DELETE", signal);
  }

  /** Uploads a module, to be named by tasks (`module`). A Blob is streamed. `isNew` is false if the gateway had it. */
  async putModule(
    content: Blob | Uint8Array<ArrayBuffer>,
    { signal }: CallOptions = {},
  ): Promise<{ readonly module: ModuleJson; readonly isNew: boolean }> {
    const headers = { "content-type": "application/wasm" };
    const response = await this.#exchange.open(ROUTES.modules, { method: "PUT", headers, body: content, signal });
    return { module: await this.#exchange.read(response, moduleSchema, signal), isNew: response.status === 201 };
  }

  /** Newest first, page by page as they are asked for. */
  listModules({ limit = Infinity, signal }: CallOptions & { readonly limit?: number | undefined } = {}): AsyncGenerator<
    ModuleJson,
    void
  > {
    return this.#pages(ROUTES.modules, moduleSchema, {}, limit, signal);
  }

  /** By its SHA-256. */
  getModule(sha256: string, { signal }: CallOptions = {}): Promise<ModuleJson> {
    return this.#exchange.json(ROUTES.module(sha256), moduleSchema, { signal });
  }

  workers({ signal }: CallOptions = {}): Promise<WorkerJson[]> {
    return this.#exchange.json(ROUTES.workers, z.array(workerSchema), { signal });
  }

  worker(id: string, { signal }: CallOptions = {}): Promise<WorkerJson> {
    return this.#exchange.json(ROUTES.worker(id), workerSchema, { signal });
  }

  /** Lets a pending or future worker join without the secret; gives a drained or quarantined one runs again. */
  admit(id: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#command(ROUTES.admit(id), "POST", signal);
  }

  /** Gives the worker no more runs; what it has not finished when the grace is over is tried elsewhere. */
  async drain(
    id: string,
    { grace, signal }: CallOptions & { readonly grace?: string | undefined } = {},
  ): Promise<void> {
    const response = await this.#exchange.open(ROUTES.drain(id), { method: "POST", query: { grace }, signal });
    await response.body?.cancel();
  }

  /** Ends the worker's session and bars it. */
  forget(id: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#command(ROUTES.worker(id), "DELETE", signal);
  }

  /** Makes another join secret; the old one is good for as long as `grace` says. */
  rotateSecret({
    grace,
    signal,
  }: CallOptions & { readonly grace?: string | undefined } = {}): Promise<RotatedSecretJson> {
    const options = { method: "POST", query: { grace }, signal } as const;
    return this.#exchange.json(ROUTES.rotateSecret, rotatedSecretSchema, options);
  }

  /** Ended ones too, for a while. */
  tokens({ signal }: CallOptions = {}): Promise<TokenJson[]> {
    return this.#exchange.json(ROUTES.tokens, z.array(tokenSchema), { signal });
  }

  /** `token` of the answer is the text to send; it is shown this once. */
  createToken(request: TokenRequest, { signal }: CallOptions = {}): Promise<MadeTokenJson> {
    return this.#exchange.json(ROUTES.tokens, madeTokenSchema, { method: "POST", json: request, signal });
  }

  /** Ends the token, those that were made with it, and all that is under way on them. */
  revokeToken(id: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#command(ROUTES.token(id), "DELETE", signal);
  }

  /** Who did what by which authority, newest first, page by page as entries are asked for. */
  audit({ limit = Infinity, signal }: CallOptions & { readonly limit?: number | undefined } = {}): AsyncGenerator<
    AuditEntryJson,
    void
  > {
    return this.#pages(ROUTES.audit, auditEntrySchema, {}, limit, signal);
  }

  cluster({ signal }: CallOptions = {}): Promise<MemberJson[]> {
    return this.#exchange.json(ROUTES.cluster, z.array(memberSchema), { signal });
  }

  /** Resolves with the finished task. Goes on while a gateway that was reached once is away for a while. */
  async waitForTask(id: string, { signal }: CallOptions = {}): Promise<TaskJson> {
    const backoff = reconnectBackoff();
    let awaySince: number | undefined;
    let wasReached = false;
    for (;;) {
      try {
        const task = await this.#exchange.json(ROUTES.task(id), taskSchema, {
          query: { wait: wasReached ? CLIENT_WAIT_MS / 1_000 : undefined },
          signal,
        });
        if (hasFinished(task)) return task;
        wasReached = true;
        awaySince = undefined;
        backoff.reset();
        continue;
      } catch (thrown) {
        const isAway =
          thrown instanceof ClusterError && (thrown.code === "unreachable" || thrown.type === "overloaded");
        if (!isAway || !wasReached) throw thrown;
        awaySince ??= this.#clock.monotonicMs();
        if (this.#clock.monotonicMs() - awaySince > this.#reconnectMsMax) throw thrown;
      }
      await sleep(this.#clock, backoff.nextMs(), { signal });
    }
  }

  #sseReader(): SseReaderInit {
    return {
      exchange: this.#exchange,
      clock: this.#clock,
      backoff: reconnectBackoff(),
      reconnectMsMax: this.#reconnectMsMax,
    };
  }

  async #command(path: string, method: string, signal: AbortSignal | undefined): Promise<void> {
    const response = await this.#exchange.open(path, { method, signal });
    await response.body?.cancel();
  }

  async *#pages<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    query: Readonly<Record<string, string | undefined>>,
    limit: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<z.infer<Schema>, void> {
    let left = limit;
    let cursor: string | undefined;
    while (left > 0) {
      const pageQuery = { ...query, limit: Math.min(CLIENT_PAGE_LENGTH, left), cursor };
      const response = await this.#exchange.open(path, { query: pageQuery, signal });
      cursor = nextCursor(response.headers.get("link"));
      const items = await this.#exchange.read(response, z.array(schema), signal);
      yield* items.slice(0, left);
      left -= items.length;
      if (cursor === undefined) return;
    }
  }
}

/** Throws `failed`, code `invalid-field`, for what is no key. */
function keyHeaders(key: string | undefined): Record<string, string> {
  if (key === undefined) return {};
  const parsed = parseSubmissionKey(key);
  if (parsed !== undefined) return { [SUBMISSION_KEY_HEADER]: parsed };
  const shown = JSON.stringify(key.slice(0, 64));
  throw failed(`the idempotency key is ${shown}, and ${SUBMISSION_KEY_EXPECTED}`, { code: "invalid-field" });
}

/** Without jitter: one client's tries need no spreading. */
function reconnectBackoff(): Backoff {
  return new Backoff({ firstMs: RECONNECT_FIRST_MS, maxMs: RECONNECT_MAX_MS, random: { next: () => 1 } });
}

/** From `<…?cursor=…>; rel="next"`. */
function nextCursor(link: string | null): string | undefined {
  const target = /<([^>]*)>\s*;\s*rel="next"/.exec(link ?? "")?.[1];
  if (target === undefined) return undefined;
  return URL.parse(target, "http://gateway")?.searchParams.get("cursor") ?? undefined;
}
