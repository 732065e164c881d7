/**
 * Clients over RPC: what `schema/client.capnp` specifies, on the services that the HTTP API stands on. A submission is
 * checked and accepted by the very code that accepts a form.
 *
 * A capability is all the authority there is: a session to submit and to find, a task to watch and to cancel that one.
 * What is held of these keeps its connection from being a stranger's.
 */
import type { Clock } from "../base/clock.ts";
import { powerWords } from "../api/endpoints.ts";
import type { FieldError } from "../api/problem.ts";
import { type ClusterError, disconnected, failed, overloaded, toClusterError } from "../base/errors.ts";
import { type Digest, type PeerId, parseTaskId } from "../base/ids.ts";
import {
  INPUT_FILES_BYTES_MAX,
  MODULE_BYTES_MAX,
  SESSIONS_PER_CONNECTION_MAX,
  UPLOADS_PER_CLIENT_MAX,
} from "../base/limits.ts";
import type { Tracer } from "../base/tracing.ts";
import type { Log } from "../base/log.ts";
import type { SubmittedForm, TaskStatus } from "../caps/client-codec.ts";
import { type TaskTarget, serveClientSession, serveTask, serveUpload } from "../caps/client-session.ts";
import type { ModuleInspector } from "../inspect/inspector.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { FileContent } from "../model/task-file.ts";
import { POWERS, type Power } from "../model/token.ts";
import { type Task, totalRuns } from "../model/task.ts";
import type { Capability } from "../rpc/capability.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import type { AuditLog } from "./audit.ts";
import type { EventHub } from "./events.ts";
import type { Grant } from "./grant.ts";
import { HeldCount } from "./held-count.ts";
import { lend } from "./lend.ts";
import { retriedTask } from "./http/retried-task.ts";
import { requireSubmissionKey } from "./http/submission-key.ts";
import type { ReceivedForm } from "./http/form-upload.ts";
import { type SubmitContext, acceptForm, inspectUpload } from "./http/submit.ts";
import type { BlobPins } from "./blob-pins.ts";
import { answerPeer } from "./answer-peer.ts";
import { ClientFeeds } from "./client-feeds.ts";
import { HeldFiles } from "./held-files.ts";
import type { Readiness, StoreReadiness, TaskService } from "./services.ts";
import { troubled } from "./store-trouble.ts";
import type { Visit } from "./strangers.ts";
import { Upload, type UploadedContent } from "./upload.ts";
import { formBytes } from "./form-bytes.ts";
import { TaskEnds } from "./task-ends.ts";
import type { Tokens } from "./tokens.ts";
import { taskStatus } from "./task-status.ts";

export interface ClientSessionsInit {
  readonly store: Store;
  readonly blobs: BlobStore;
  /** Shared with whoever deletes modules. */
  readonly pins: BlobPins;
  readonly tasks: TaskService;
  readonly tracer?: Tracer | undefined;
  readonly events: EventHub;
  readonly readiness: Readiness;
  readonly audit: AuditLog;
  readonly tokens: Pick<Tokens, "limitOf">;
  readonly storeHealth: StoreReadiness;
  readonly inspector: ModuleInspector;
  readonly clock: Clock;
  readonly log: Log;
  /** A new UUID, version 7, as text. */
  readonly newId: () => string;
}

export interface ClientInit {
  readonly client: PeerId;
  /** What its session holds, and what of it is taken back. */
  readonly grant: Grant;
  readonly address: string;
  /** Of its connection. */
  readonly visit: Visit;
}

/** Modules that are uploaded and held, and by how many. */
interface HeldModule {
  readonly inspection: ModuleInspection;
  holders: number;
}

export class ClientSessions implements AsyncDisposable {
  readonly #init: ClientSessionsInit;
  readonly #ends: TaskEnds;
  readonly #feeds: ClientFeeds;
  readonly #modules = new Map<Digest, HeldModule>();
  readonly #sessions = new HeldCount({ what: "sessions", max: SESSIONS_PER_CONNECTION_MAX, code: "too-many-sessions" });
  readonly #uploads = new HeldCount({ what: "uploads", max: UPLOADS_PER_CLIENT_MAX, code: "too-many-uploads" });
  /** Input files that are held, by connection. */
  readonly #files = new WeakMap<Visit, HeldFiles>();
  readonly #closing = new AbortController();
  /** What ended uploads leave to be done. None rejects. */
  readonly #leftOvers = new Set<Promise<void>>();

  constructor(init: ClientSessionsInit) {
    this.#init = init;
    this.#ends = new TaskEnds(init);
    this.#feeds = new ClientFeeds({ ...init, epoch: init.newId() });
  }

  /**
   * A session of a client that was admitted, with what its grant allows. The capability becomes the caller's. Throws
   * `overloaded`: code `too-many-sessions` where its connection holds as many as it may.
   */
  open({ client, grant, address, visit }: ClientInit): Capability {
    if (this.#closing.signal.aborted) throw overloaded("the gateway is closing", { code: "not-ready" });
    const session = this.#serveSession(client, grant, visit);
    this.#init.log.info("a client has logged in", { client, address });
    const detail = `can ${powerWords(grant.authority.can)}`;
    this.#init.audit.recordSession({ actor: grant.actor, action: "session.opened", subject: client, detail });
    return session;
  }

  /** Everybody who waits for an outcome is told so; resolves when ended uploads have left nothing behind. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(disconnected("the gateway is closing"));
    this.#feeds[Symbol.dispose]();
    while (this.#leftOvers.size > 0) await Promise.all(this.#leftOvers);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #serveSession(client: PeerId, grant: Grant, visit: Visit): Capability {
    return lend(grant, (onDropped) => {
      const release = this.#sessions.hold(visit);
      const membership = visit.join();
      return serveClientSession({
        submit: (form) => this.#submit(form, grant, visit),
        find: (id) => this.#find(id, grant, visit),
        upload: () => this.#upload(grant, visit, "module"),
        uploadFile: () => this.#upload(grant, visit, "file"),
        events: (after, { signal }) =>
          this.#answer(() => {
            this.#requirePower(grant, "read", "events");
            return this.#feeds.events(after, AbortSignal.any([signal, this.#closing.signal]));
          }),
        narrow: (names) => this.#narrow(names, client, grant, visit),
        [Symbol.dispose]: () => {
          onDropped();
          release();
          this.#init.audit.recordSession({ actor: grant.actor, action: "session.ended", subject: client });
          membership[Symbol.dispose]();
        },
      });
    });
  }

  #submit(
    form: SubmittedForm,
    grant: Grant,
    visit: Visit,
  ): Promise<{ readonly task: Capability; readonly id: string }> {
    return this.#answer(async () => {
      this.#requirePower(grant, "submit", "submit");
      this.#requireReady();
      grant.beginSubmit();
      grant.spendBytes(formBytes(form));
      await using module = form.moduleBytes && (await this.#init.blobs.create());
      if (form.moduleBytes !== undefined) await module?.write(form.moduleBytes);
      const { texts, stdin } = form;
      const { files, errors } = this.#heldFiles(form, visit);
      const received = { texts, stdinFile: stdin, module, files, errors };
      const key = form.idempotencyKey === undefined ? undefined : requireSubmissionKey(form.idempotencyKey);
      const context = this.#submitContext(grant);
      const { task } = await acceptForm(context, received, { key });
      const { id } = task.spec;
      // Whoever submits a task holds it, whatever else he may do.
      return { task: this.#serveTask(task, grant, visit, { canCancel: true }), id };
    });
  }

  #find(text: string, grant: Grant, visit: Visit): Promise<Capability> {
    return this.#answer(async () => {
      this.#requirePower(grant, "read", "find");
      const id = parseTaskId(text);
      const task = id && (await this.#init.store.getTask(id));
      if (task === undefined) throw noSuchTask(text);
      return this.#serveTask(task, grant, visit, { canCancel: grant.can("submit") });
    });
  }

  #narrow(names: readonly string[], client: PeerId, grant: Grant, visit: Visit): Promise<Capability> {
    return this.#answer(async () => {
      grant.ended.throwIfAborted();
      const unknown = names.find((name) => !POWERS.some((power) => power === name));
      if (unknown !== undefined) {
        const shown = JSON.stringify(unknown.slice(0, 40));
        throw failed(`${shown} is no power; there are ${POWERS.join(", ")}`, { code: "invalid-field" });
      }
      const narrower = grant.narrow(POWERS.filter((power) => names.includes(power)));
      const session = this.#serveSession(client, narrower, visit);
      const detail = `can ${powerWords(narrower.authority.can)}`;
      this.#init.audit.recordSession({ actor: grant.actor, action: "session.narrowed", subject: client, detail });
      return session;
    });
  }

  /** What the form names of the files that are held on its connection. */
  #heldFiles(form: SubmittedForm, visit: Visit): Pick<ReceivedForm, "files" | "errors"> {
    const held = this.#files.get(visit);
    const files: FileContent[] = [];
    const errors: FieldError[] = [];
    for (const { path, digest } of form.files) {
      const bytes = held?.bytesOf(digest);
      if (bytes !== undefined) files.push({ path, digest, bytes });
      else errors.push({ field: "files", message: `names ${digest}, which is not held: upload it on this connection` });
    }
    return { files, errors };
  }

  async #acceptModule(uploaded: UploadedContent): Promise<() => Disposable> {
    const inspection = await inspectUpload(this.#init, uploaded);
    return () => this.#hold(uploaded.digest, inspection);
  }

  async #acceptFile({ digest, bytes }: UploadedContent, visit: Visit): Promise<() => Disposable> {
    const held = this.#files.get(visit) ?? new HeldFiles();
    this.#files.set(visit, held);
    held.requireRoom(bytes);
    return () => held.hold(digest, bytes);
  }

  #upload(grant: Grant, visit: Visit, kind: "module" | "file"): Promise<Capability> {
    return this.#answer(async () => {
      this.#requirePower(grant, "submit", "upload");
      this.#requireReady();
      // Input files are a part of the submission that is to name them.
      grant.beginSubmit(kind === "module" ? 1 : 0);
      const release = this.#uploads.hold(visit);
      const writer = await this.#init.blobs.create().catch((error: unknown) => {
        release();
        throw error;
      });
      const upload = new Upload({
        pins: this.#init.pins,
        spendBytes: (bytes) => {
          grant.requireBytes();
          grant.spendBytes(bytes);
        },
        bytesMax: kind === "module" ? MODULE_BYTES_MAX : INPUT_FILES_BYTES_MAX,
        writer,
        accept: (content) => (kind === "module" ? this.#acceptModule(content) : this.#acceptFile(content, visit)),
      });
      const leave = (): void => this.#leave(upload[Symbol.asyncDispose]().finally(release));
      let isTold = kind === "file";
      const finish = async (): Promise<Digest> => {
        const digest = await upload.finish();
        if (!isTold) this.#init.audit.record({ actor: grant.actor, action: "module.stored", subject: digest });
        isTold = true;
        // Finished files count by themselves: a task may have many.
        if (kind === "file") release();
        return digest;
      };
      // It may have ended while the place was made.
      if (grant.ended.aborted) {
        leave();
        throw toClusterError(grant.ended.reason);
      }
      return lend(grant, (onDropped) => {
        const membership = visit.join();
        return serveUpload({
          write: (bytes) => this.#answer(() => upload.write(bytes)),
          finish: () => this.#answer(finish),
          [Symbol.dispose]: () => {
            onDropped();
            membership[Symbol.dispose]();
            leave();
          },
        });
      });
    });
  }

  #serveTask(
    { spec: { id }, serial }: Task,
    grant: Grant,
    visit: Visit,
    { canCancel }: { readonly canCancel: boolean },
  ): Capability {
    const current = async (): Promise<Task> => {
      const task = await this.#init.store.getTask(id);
      // The name may be another task's by now.
      if (task?.serial !== serial) throw noSuchTask(id);
      return task;
    };
    const target: Omit<TaskTarget, typeof Symbol.dispose> = {
      status: () => this.#answer(async () => this.#statusOf(await current())),
      outcome: ({ signal }) =>
        this.#answer(async () => {
          const over = AbortSignal.any([signal, this.#closing.signal]);
          const finished = await this.#ends.of({ id, serial }, { signal: over });
          if (finished === undefined) throw noSuchTask(id);
          return this.#statusOf(finished);
        }),
      cancel: () =>
        this.#answer(async () => {
          if (!canCancel) this.#requirePower(grant, "submit", id);
          await current();
          const result = await this.#init.tasks.cancel(id, "cancelled by request");
          if (result.kind === "no-such-task") throw noSuchTask(id);
          if (result.kind === "cancelled") {
            this.#init.audit.record({ actor: grant.actor, action: "task.cancelled", subject: id });
            return this.#statusOf(result.task);
          }
          throw failed(`the task ${id} has finished (${result.task.state})`, { code: "already-finished" });
        }),
      retry: () =>
        this.#answer(async () => {
          if (!canCancel) this.#requirePower(grant, "submit", id);
          grant.beginSubmit();
          const { spec } = await current();
          const result = await this.#init.tasks.retry(id, this.#init.tokens.limitOf(spec.submitter));
          const retried = retriedTask(id, result);
          this.#init.audit.record({ actor: grant.actor, action: "task.retried", subject: id });
          return this.#statusOf(retried);
        }),
      log: (place, { signal }) =>
        this.#answer(async () => {
          const task = await current();
          if (place.run > totalRuns(task.spec)) {
            throw failed(`the task ${id} has no run ${place.run}`, { code: "no-such-run" });
          }
          const over = AbortSignal.any([signal, this.#closing.signal]);
          const page = await this.#feeds.log(task, place, over);
          await current();
          return page;
        }),
    };
    return lend(grant, (onDropped) => {
      const membership = visit.join();
      return serveTask({
        ...target,
        [Symbol.dispose]: () => {
          onDropped();
          membership[Symbol.dispose]();
        },
      });
    });
  }

  #statusOf(task: Task): TaskStatus {
    return taskStatus(task, this.#init.clock.now());
  }

  #submitContext(grant: Grant): SubmitContext {
    return { ...this.#init, grant, pinned: (digest) => this.#modules.get(digest)?.inspection };
  }

  /** The module may be named by submissions until this is disposed. */
  #hold(digest: Digest, inspection: ModuleInspection): Disposable {
    const held = this.#modules.get(digest) ?? { inspection, holders: 0 };
    this.#modules.set(digest, held);
    held.holders++;
    return {
      [Symbol.dispose]: () => {
        held.holders--;
        if (held.holders === 0) this.#modules.delete(digest);
      },
    };
  }

  #leave(work: Promise<void>): void {
    const done = work
      .catch((error: unknown) => this.#init.log.warn("an upload could not be cleared away", { error }))
      .finally(() => this.#leftOvers.delete(done));
    this.#leftOvers.add(done);
  }

  #requirePower(grant: Grant, power: Power, subject: string): void {
    if (!grant.can(power)) this.#init.audit.recordRefusal(grant.actor, subject, `needs ${power}`);
    grant.require(power);
  }

  #answer<T>(work: () => Promise<T>): Promise<T> {
    return answerPeer(this.#init, work);
  }

  #requireReady(): void {
    const reason = this.#init.readiness.notReadyBecause();
    if (reason !== undefined) throw overloaded(`the gateway takes no work now: ${reason}`, { code: "not-ready" });
    const trouble = this.#init.storeHealth.refusesBecause();
    if (trouble !== undefined) throw troubled(trouble);
  }
}

function noSuchTask(id: string): ClusterError {
  return failed(`there is no task ${JSON.stringify(id.slice(0, 128))}`, { code: "no-such-task" });
}
