/**
 * Clients over RPC: what `schema/client.capnp` specifies, on the services that the HTTP API stands on. A submission is
 * checked and accepted by the very code that accepts a form.
 *
 * A capability is all the authority there is: a session to submit and to find, a task to watch and to cancel that one.
 * What is held of these keeps its connection from being a stranger's.
 */
import type { Clock } from "../base/clock.ts";
import { ClusterError, disconnected, failed, overloaded } from "../base/errors.ts";
import { type Digest, type PeerId, parseTaskId } from "../base/ids.ts";
import { INSPECTIONS_AT_ONCE_MAX, UPLOADS_PER_CLIENT_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { SubmittedForm, TaskStatus } from "../caps/client-codec.ts";
import {
  type ClientSessionTarget,
  type TaskTarget,
  serveClientSession,
  serveTask,
  serveUpload,
} from "../caps/client-session.ts";
import type { ModuleInspection } from "../model/module.ts";
import { type Task, completions, progress, totalRuns } from "../model/task.ts";
import type { Capability } from "../rpc/capability.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";
import { Semaphore } from "./http/semaphore.ts";
import { type SubmitContext, acceptForm } from "./http/submit.ts";
import type { ModulePins } from "./module-pins.ts";
import { ModuleUpload } from "./module-upload.ts";
import type { Readiness, TaskService } from "./services.ts";
import { storeTrouble } from "./store-trouble.ts";
import type { Visit } from "./strangers.ts";
import { TaskEnds } from "./task-ends.ts";

export interface ClientSessionsInit {
  readonly store: Store;
  readonly blobs: BlobStore;
  /** Shared with whoever deletes modules. */
  readonly pins: ModulePins;
  readonly tasks: TaskService;
  readonly events: EventHub;
  readonly readiness: Readiness;
  readonly clock: Clock;
  readonly log: Log;
  /** A new UUID, version 7, as text. */
  readonly newId: () => string;
}

export interface ClientInit {
  readonly client: PeerId;
  /** Whose its tasks are (`model/submitter.ts`). */
  readonly submitter: string;
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
  readonly #inspections = new Semaphore(INSPECTIONS_AT_ONCE_MAX);
  readonly #modules = new Map<Digest, HeldModule>();
  /** Uploads under way, by connection. */
  readonly #uploads = new WeakMap<Visit, number>();
  readonly #closing = new AbortController();
  /** What ended uploads leave to be done. None rejects. */
  readonly #leftOvers = new Set<Promise<void>>();

  constructor(init: ClientSessionsInit) {
    this.#init = init;
    this.#ends = new TaskEnds(init);
  }

  /** A session of a client that was admitted. The capability becomes the caller's. */
  open({ client, submitter, address, visit }: ClientInit): Capability {
    if (this.#closing.signal.aborted) throw overloaded("the gateway is closing", { code: "not-ready" });
    this.#init.log.info("a client has logged in", { client, address });
    const membership = visit.join();
    const target: ClientSessionTarget = {
      submit: (form) => this.#submit(form, submitter, visit),
      find: (id) => this.#find(id, visit),
      upload: () => this.#upload(visit),
      [Symbol.dispose]: () => membership[Symbol.dispose](),
    };
    return serveClientSession(target);
  }

  /** Everybody who waits for an outcome is told so; resolves when ended uploads have left nothing behind. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort(disconnected("the gateway is closing"));
    while (this.#leftOvers.size > 0) await Promise.all(this.#leftOvers);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #submit(
    form: SubmittedForm,
    submitter: string,
    visit: Visit,
  ): Promise<{ readonly task: Capability; readonly id: string }> {
    return this.#answer(async () => {
      this.#requireReady();
      await using module = form.moduleBytes && (await this.#init.blobs.create());
      if (form.moduleBytes !== undefined) await module?.write(form.moduleBytes);
      const { texts, stdin } = form;
      const received = { texts, stdinFile: stdin, module, errors: [] };
      const task = await acceptForm(this.#submitContext(submitter), received, this.#inspections);
      return { task: this.#serveTask(task, visit), id: task.spec.id };
    });
  }

  #find(text: string, visit: Visit): Promise<Capability> {
    return this.#answer(async () => {
      const id = parseTaskId(text);
      const task = id && (await this.#init.store.getTask(id));
      if (task === undefined) throw noSuchTask(text);
      return this.#serveTask(task, visit);
    });
  }

  #upload(visit: Visit): Promise<Capability> {
    return this.#answer(async () => {
      this.#requireReady();
      const count = this.#uploads.get(visit) ?? 0;
      if (count >= UPLOADS_PER_CLIENT_MAX) {
        throw overloaded(`${UPLOADS_PER_CLIENT_MAX} uploads are held: drop one`, { code: "too-many-uploads" });
      }
      this.#uploads.set(visit, count + 1);
      const release = (): void => void this.#uploads.set(visit, (this.#uploads.get(visit) ?? 1) - 1);
      const writer = await this.#init.blobs.create().catch((error: unknown) => {
        release();
        throw error;
      });
      const membership = visit.join();
      const upload = new ModuleUpload({
        ...this.#init,
        writer,
        inspections: this.#inspections,
        hold: (digest, inspection) => this.#hold(digest, inspection),
      });
      return serveUpload({
        write: (bytes) => this.#answer(() => upload.write(bytes)),
        finish: () => this.#answer(() => upload.finish()),
        [Symbol.dispose]: () => {
          membership[Symbol.dispose]();
          this.#leave(upload[Symbol.asyncDispose]().finally(release));
        },
      });
    });
  }

  #serveTask({ spec: { id }, serial }: Task, visit: Visit): Capability {
    const membership = visit.join();
    const current = async (): Promise<Task> => {
      const task = await this.#init.store.getTask(id);
      // The name may be another task's by now.
      if (task?.serial !== serial) throw noSuchTask(id);
      return task;
    };
    const target: TaskTarget = {
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
          await current();
          const result = await this.#init.tasks.cancel(id, "cancelled by request");
          if (result.kind === "no-such-task") throw noSuchTask(id);
          if (result.kind === "cancelled") return this.#statusOf(result.task);
          throw failed(`the task ${id} has finished (${result.task.state})`, { code: "already-finished" });
        }),
      [Symbol.dispose]: () => membership[Symbol.dispose](),
    };
    return serveTask(target);
  }

  #statusOf(task: Task): TaskStatus {
    const { spec, counts, state, reason, createdAt, nextRunAt, finishedAt, result } = task;
    return {
      id: spec.id,
      state,
      reason,
      completions: completions(task),
      runs: totalRuns(spec),
      succeeded: counts.succeeded,
      failed: counts.failed,
      cancelled: counts.cancelled,
      progress: progress(task, this.#init.clock.now()),
      createdAt,
      nextRunAt,
      finishedAt,
      result,
    };
  }

  #submitContext(submitter: string): SubmitContext {
    return { ...this.#init, submitter, pinned: (digest) => this.#modules.get(digest)?.inspection };
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

  #requireReady(): void {
    const reason = this.#init.readiness.notReadyBecause();
    if (reason !== undefined) throw overloaded(`the gateway takes no work now: ${reason}`, { code: "not-ready" });
  }

  /** What a peer may be told of what went wrong: no paths, nothing of the inside. */
  async #answer<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof ClusterError && !STORE_CODES.has(thrown.code)) throw thrown;
      this.#init.log.error("a client's call failed", { error: thrown });
      if (thrown instanceof ClusterError) throw storeTrouble(thrown);
      throw failed("something went wrong in the gateway; its log says what", { code: "internal" });
    }
  }
}

const STORE_CODES: ReadonlySet<string> = new Set(["store-unavailable", "store-closed"]);

function noSuchTask(id: string): ClusterError {
  return failed(`there is no task ${JSON.stringify(id.slice(0, 128))}`, { code: "no-such-task" });
}
