/**
 * The store on one SQLite file. The file belongs to a thread of its own; this is its face on the caller's thread, which
 * only translates between the model and what crosses. It is long because the contract is.
 */
import { assert, failed, messageOf, toClusterError } from "../../base/errors.ts";
import type { Digest, PeerId, TaskId } from "../../base/ids.ts";
import { STORE_SPEC_CACHE_BYTES_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import type { ModuleInspection, StoredModule } from "../../model/module.ts";
import type { AttemptEnd } from "../../model/outcome.ts";
import type { OutputStream } from "../../model/output.ts";
import type { AttemptId, Run } from "../../model/run.ts";
import type { AuditEntry, StoredAuditEntry } from "../../model/audit.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { Task, TaskSpec } from "../../model/task.ts";
import type { TokenId } from "../../model/token.ts";
import type { CredentialStore, StoredToken } from "../credential-store.ts";
import type { TaskInspection } from "../inspection.ts";
import type { HoldModuleResult, ListModulesOptions, ModulePage, ReleaseModulesResult } from "../module-store.ts";
import type {
  AppendResult,
  CancelTaskResult,
  CreateTaskResult,
  CreateTasksResult,
  DeleteTaskResult,
  FinishedPosition,
  ForgetResult,
  ForgetRunsResult,
  FoundSubmission,
  FoundTask,
  ListReadyOptions,
  KeepFileResult,
  KeptFile,
  ListTasksOptions,
  OpenRunCounts,
  OutputPage,
  NewTask,
  PromoteResult,
  QueueSize,
  ReadOutputOptions,
  ReadyRun,
  RetryTaskResult,
  RunningAttempt,
  SettleOptions,
  SettleResult,
  Store,
  SubmissionKey,
  SubmitterLimit,
} from "../store.ts";
import { type CheckOptions, type StoreTrouble, UnreadableTask } from "../trouble.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { TaskWire } from "./messages.ts";
import type { StoreStats } from "../store-meter.ts";
import { type StoreMeasuring, StoreThread } from "./store-thread.ts";
import {
  SpecCache,
  copyBytes,
  decodeCursor,
  decodeModule,
  decodeModuleCursor,
  decodeOpenRun,
  decodeRun,
  decodeTask,
  encodeNewTask,
  encodeCursor,
  encodeModuleCursor,
} from "./wire.ts";

export interface SqliteStoreInit {
  /**
   * Of the file, by its own name and no link's; it is made if it is not there, its folder is not. SQLite keeps two more
   * beside it.
   */
  readonly path: string;
  readonly log: Log;
  /** Default: nobody measures. */
  readonly measuring?: StoreMeasuring | undefined;
}

export class SqliteStore implements Store, CredentialStore {
  readonly #thread: StoreThread;
  readonly #specs = new SpecCache(STORE_SPEC_CACHE_BYTES_MAX);

  private constructor(thread: StoreThread) {
    this.#thread = thread;
  }

  /** Rejects with `failed`, code `store-unavailable`, when the file cannot be used; the message says what to do. */
  static async open(init: SqliteStoreInit): Promise<SqliteStore> {
    return new SqliteStore(await StoreThread.open(init));
  }

  get stats(): StoreStats {
    return this.#thread.stats;
  }

  async createTask(
    spec: TaskSpec,
    inspection: ModuleInspection | undefined,
    now: number,
    key?: SubmissionKey,
    limit?: SubmitterLimit,
  ): Promise<CreateTaskResult> {
    const task = encodeNewTask(spec, inspection);
    const answer = await this.#thread.call("createTask", { task, now, key, limit }, [task.spec.stdin]);
    switch (answer.kind) {
      case "created":
        return { ...answer, task: this.#whole(() => decodeTask(answer.task, spec)) };
      case "repeated":
        return { ...answer, task: this.#decode(answer.task) };
      default:
        return answer;
    }
  }

  async createTasks(
    tasks: readonly NewTask[],
    now: number,
    key?: SubmissionKey,
    limit?: SubmitterLimit,
  ): Promise<CreateTasksResult> {
    const wires = tasks.map(({ spec, inspection }) => encodeNewTask(spec, inspection));
    const owned = wires.map(({ spec }) => spec.stdin);
    const answer = await this.#thread.call("createTasks", { tasks: wires, now, key, limit }, owned);
    if (answer.kind !== "created" && answer.kind !== "repeated") return answer;
    const known = answer.kind === "created" ? tasks : [];
    return { ...answer, tasks: answer.tasks.map((task, index) => this.#decode(task, known[index]?.spec)) };
  }

  async findSubmission(key: SubmissionKey, now: number): Promise<FoundSubmission | undefined> {
    const answer = await this.#thread.call("findSubmission", { key, now });
    return answer?.kind === "repeated" ? { ...answer, tasks: answer.tasks.map((task) => this.#decode(task)) } : answer;
  }

  async getTask(id: TaskId): Promise<Task | undefined> {
    const wire = await this.#thread.call("getTask", { id });
    return wire && this.#decode(wire, undefined, id);
  }

  findTasks(ids: readonly TaskId[]): Promise<readonly FoundTask[]> {
    return this.#thread.call("findTasks", { ids });
  }

  async listTasks(
    options: ListTasksOptions,
  ): Promise<{ readonly tasks: readonly Task[]; readonly cursor?: string | undefined }> {
    const belowSerial = options.cursor === undefined ? Number.MAX_SAFE_INTEGER : decodeCursor(options.cursor);
    if (belowSerial === undefined) throw invalidCursor();
    const page = await this.#thread.call("listTasks", { state: options.state, limit: options.limit, belowSerial });
    const tasks: Task[] = [];
    let { hasMore, unreadable } = page;
    for (const [index, wire] of page.tasks.entries()) {
      const id = page.ids[index];
      try {
        tasks.push(this.#decode(wire, undefined, id));
      } catch (thrown) {
        if (!(thrown instanceof DamagedRow)) throw thrown;
        unreadable = { serial: wire.serial, id: String(id), what: thrown.what };
        hasMore = true;
        break;
      }
    }
    const last = tasks.at(-1);
    if (last === undefined && unreadable !== undefined) {
      throw new UnreadableTask(unreadable.id, unreadable.what, encodeCursor(unreadable.serial));
    }
    return { tasks, cursor: hasMore && last !== undefined ? encodeCursor(last.serial) : undefined };
  }

  measureQueue(): Promise<QueueSize> {
    return this.#thread.call("measureQueue", {});
  }

  countOpenRuns(): Promise<OpenRunCounts> {
    return this.#thread.call("countOpenRuns", {});
  }

  async listRuns(
    id: TaskId,
    options: { readonly fromIndex: number; readonly limit: number },
  ): Promise<readonly Run[] | undefined> {
    const wires = await this.#thread.call("listRuns", { id, ...options });
    return wires && this.#whole(() => wires.map(decodeRun));
  }

  async getRun(id: TaskId, index: number): Promise<Run | undefined> {
    const runs = await this.listRuns(id, { fromIndex: index, limit: 1 });
    return runs?.find((run) => run.index === index);
  }

  async getLatestStartedRun(id: TaskId): Promise<Run | undefined> {
    const wire = await this.#thread.call("getLatestStartedRun", { id });
    return wire === undefined ? undefined : this.#whole(() => decodeRun(wire));
  }

  async inspectTask(id: TaskId, now: number): Promise<TaskInspection | undefined> {
    const answer = await this.#thread.call("inspectTask", { id, now });
    return (
      answer && {
        ...answer,
        task: this.#decode(answer.task),
        openRuns: this.#whole(() => answer.openRuns.map(decodeOpenRun)),
      }
    );
  }

  async cancelTask(id: TaskId, reason: string, now: number): Promise<CancelTaskResult> {
    const answer = await this.#thread.call("cancelTask", { id, reason, now });
    return answer.kind === "no-such-task" ? answer : { ...answer, task: this.#decode(answer.task) };
  }

  async retryTask(id: TaskId, now: number, limit?: SubmitterLimit): Promise<RetryTaskResult> {
    const answer = await this.#thread.call("retryTask", { id, now, limit });
    return "task" in answer ? { ...answer, task: this.#decode(answer.task) } : answer;
  }

  deleteTask(id: TaskId): Promise<DeleteTaskResult> {
    return this.#thread.call("deleteTask", { id });
  }

  forgetFinished(endedBefore: number, limit: number, after?: FinishedPosition): Promise<ForgetResult> {
    return this.#thread.call("forgetFinished", { endedBefore, limit, after });
  }

  forgetRuns(endedBefore: number, limit: number, after: number, endedFrom = -Infinity): Promise<ForgetRunsResult> {
    return this.#thread.call("forgetRuns", { endedFrom, endedBefore, limit, after });
  }

  promoteDue(now: number, limit: number, missedBefore = -Infinity): Promise<PromoteResult> {
    return this.#thread.call("promoteDue", { now, limit, missedBefore });
  }

  async listReady(now: number, limit: number, options: ListReadyOptions = {}): Promise<readonly ReadyRun[]> {
    const { after, except } = options;
    const position = after && {
      priority: after.spec.priority,
      dueAt: after.dueAt,
      serial: after.serial,
      index: after.index,
    };
    const answer = await this.#thread.call("listReady", { now, limit, after: position, except });
    const specs = new Map(
      answer.specs.map(({ serial, spec }) => [serial, this.#whole(() => this.#specs.decode(serial, spec))]),
    );
    return answer.runs.map((run) => {
      const spec = specs.get(run.serial);
      assert(spec !== undefined, "each ready run comes with its spec");
      return { ...run, spec };
    });
  }

  nextDueAt(): Promise<number | undefined> {
    return this.#thread.call("nextDueAt", {});
  }

  nextBackoffEnd(now: number): Promise<number | undefined> {
    return this.#thread.call("nextBackoffEnd", { now });
  }

  lease(id: AttemptId, worker: PeerId, now: number, leaseUntil: number): Promise<boolean> {
    return this.#thread.call("lease", { id, worker, now, leaseUntil });
  }

  noteEnded(ids: readonly AttemptId[]): Promise<boolean> {
    return this.#thread.call("noteEnded", { ids });
  }

  renew(ids: readonly AttemptId[], worker: PeerId, leaseUntil: number): Promise<readonly AttemptId[]> {
    return this.#thread.call("renew", { ids, worker, leaseUntil });
  }

  listRunning(worker?: PeerId): Promise<readonly RunningAttempt[]> {
    return this.#thread.call("listRunning", { worker });
  }

  extendAllLeases(leaseUntil: number): Promise<void> {
    return this.#thread.call("extendAllLeases", { leaseUntil });
  }

  listExpired(now: number, limit: number): Promise<readonly RunningAttempt[]> {
    return this.#thread.call("listExpired", { now, limit });
  }

  async settle(id: AttemptId, end: AttemptEnd, options: SettleOptions): Promise<SettleResult> {
    const known = this.#specs.get(id.serial, id.task);
    const answer = await this.#thread.call("settle", {
      id,
      end,
      now: options.now,
      backoffJitter: options.backoffJitter,
      isBlameless: options.isBlameless ?? false,
      isSpecKnown: known !== undefined,
    });
    if (answer.kind === "stale") return answer;
    return { ...answer, task: this.#decode(answer.task, known), run: this.#whole(() => decodeRun(answer.run)) };
  }

  async appendOutput(id: AttemptId, offset: number, stream: OutputStream, bytes: Uint8Array): Promise<AppendResult> {
    const owned = copyBytes(bytes);
    return this.#thread.call("appendOutput", { id, offset, stream, bytes: owned }, [owned]);
  }

  readOutput(id: TaskId, run: number, options: ReadOutputOptions): Promise<OutputPage | undefined> {
    const { stream, offset, bytesMax } = options;
    return this.#thread.call("readOutput", { task: id, run, stream, offset, bytesMax });
  }

  keepFile(id: AttemptId, file: FileContent, options: { readonly hasBytes: boolean }): Promise<KeepFileResult> {
    return this.#thread.call("keepFile", { id, file, hasBytes: options.hasBytes });
  }

  findKeptFile(task: TaskId, path: string, run?: number, dependent?: number): Promise<KeptFile | undefined> {
    return this.#thread.call("findKeptFile", { task, path, run, dependent });
  }

  isBlobUsed(digest: Digest): Promise<boolean> {
    return this.#thread.call("isBlobUsed", { digest });
  }

  async getModule(digest: Digest): Promise<StoredModule | undefined> {
    const wire = await this.#thread.call("getModule", { digest });
    return wire === undefined ? undefined : this.#whole(() => decodeModule(wire));
  }

  async holdModule(digest: Digest, inspection: ModuleInspection, now: number): Promise<HoldModuleResult> {
    const answer = await this.#thread.call("holdModule", { digest, inspection: JSON.stringify(inspection), now });
    if (answer.kind === "too-many") return answer;
    const { isNew, createdAt } = answer;
    return { kind: "held", isNew, module: { digest, inspection, createdAt } };
  }

  async listModules({ limit, cursor }: ListModulesOptions): Promise<ModulePage> {
    const below = cursor === undefined ? undefined : decodeModuleCursor(cursor);
    if (cursor !== undefined && below === undefined) throw invalidCursor();
    const { modules, next } = await this.#thread.call("listModules", { limit, below });
    return { modules: this.#whole(() => modules.map(decodeModule)), cursor: next && encodeModuleCursor(next) };
  }

  releaseModules(heldBefore: number, limit: number, now: number, heldFrom = -Infinity): Promise<ReleaseModulesResult> {
    return this.#thread.call("releaseModules", { heldFrom, heldBefore, limit, now });
  }

  getAdmission(peer: PeerId): Promise<"admitted" | "barred" | undefined> {
    return this.#thread.call("getAdmission", { peer });
  }

  setAdmission(peer: PeerId, admission: "admitted" | "barred", now: number): Promise<void> {
    return this.#thread.call("setAdmission", { peer, admission, now });
  }

  createToken(token: StoredToken): Promise<void> {
    return this.#thread.call("createToken", { token });
  }

  listTokens(): Promise<readonly StoredToken[]> {
    return this.#thread.call("listTokens", {});
  }

  revokeTokens(ids: readonly TokenId[], now: number): Promise<void> {
    return this.#thread.call("revokeTokens", { ids, now });
  }

  forgetTokens(endedBefore: number): Promise<void> {
    return this.#thread.call("forgetTokens", { endedBefore });
  }

  appendAudit(entries: readonly AuditEntry[]): Promise<void> {
    return this.#thread.call("appendAudit", { entries });
  }

  listAudit({
    limit,
    belowSeq,
  }: {
    readonly limit: number;
    readonly belowSeq?: number | undefined;
  }): Promise<readonly StoredAuditEntry[]> {
    return this.#thread.call("listAudit", { limit, belowSeq });
  }

  listDrained(): Promise<readonly PeerId[]> {
    return this.#thread.call("listDrained", {});
  }

  setDrained(peer: PeerId, isDrained: boolean, now: number): Promise<void> {
    return this.#thread.call("setDrained", { peer, isDrained, now });
  }

  getClockMark(): Promise<number | undefined> {
    return this.#thread.call("getClockMark", {});
  }

  setClockMark(at: number): Promise<void> {
    return this.#thread.call("setClockMark", { at });
  }

  async check({ isThorough = false }: CheckOptions = {}): Promise<StoreTrouble | undefined> {
    try {
      const known = await this.#thread.call("look", {});
      // What is over is noticed by writing.
      const isWorthATry =
        known === undefined ? isThorough : known.kind !== "damaged" && known.kind !== "disk-nearly-full";
      if (!isWorthATry) return known;
      await this.#thread.call("probe", {}).catch(() => {});
      return await this.#thread.call("look", {});
    } catch (error) {
      const kind = toClusterError(error).type === "overloaded" ? "busy" : "stopped";
      return { kind, message: messageOf(error) };
    }
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** What `decode` makes of rows. When it finds damage the thread is told, which then writes nothing more. */
  #whole<T>(decode: () => T): T {
    try {
      return decode();
    } catch (thrown) {
      if (thrown instanceof DamagedRow) this.#thread.call("distrust", { what: thrown.what }).catch(() => {});
      throw thrown;
    }
  }

  #decode(wire: TaskWire, known?: TaskSpec, id?: TaskId): Task {
    return this.#whole(() => {
      const spec = known ?? (wire.spec === undefined ? undefined : this.#specs.decode(wire.serial, wire.spec));
      assert(spec !== undefined, "a task comes with its spec unless it is known");
      if (id !== undefined && spec.id !== id) throw new DamagedRow(`task ${id} has the spec of another`);
      return decodeTask(wire, spec);
    });
  }
}

function invalidCursor(): Error {
  return failed("the cursor is not one that a list gave", { code: "invalid-cursor" });
}
