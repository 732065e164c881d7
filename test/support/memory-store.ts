/**
 * A store without a disk, for tests that need many, fast: the contract of `src/store/store.ts` exactly, and what a disk
 * can do to its owner besides: answers take their time on a clock, the process dies between any two transactions, nothing
 * fits on it any more.
 *
 * Operations wait in the order of their calls. A group of them is carried out at once, one transaction each, and answered
 * when its commit is over. Until then a crash may come: of the group's transactions any number, the first so many, may
 * turn out to be durable; what only waited never is.
 *
 * It is long because it has a method for each operation. To add one: its function on a Transaction goes into
 * `memory-store-tasks.ts`, `-runs.ts`, `-forgetting.ts`, `-files.ts`, `-modules.ts` or `-log.ts`, one line here hands it on
 * by `#read` or `#write`, and the conformance suite says whether it is right.
 */
import type { Clock, Timer } from "../../src/base/clock.ts";
import { failed } from "../../src/base/errors.ts";
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import { STORE_GROUP_OPERATIONS_MAX, STORE_PENDING_OPERATIONS_MAX } from "../../src/base/limits.ts";
import type { ModuleInspection } from "../../src/model/module.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import type { ListModulesOptions } from "../../src/store/module-store.ts";
import type {
  FinishedPosition,
  ListReadyOptions,
  ListTasksOptions,
  NewTask,
  ReadOutputOptions,
  SettleOptions,
  Store,
  SubmissionKey,
  SubmitterLimit,
} from "../../src/store/store.ts";
import { StoreFailure, type StoreTrouble } from "../../src/store/trouble.ts";
import * as files from "./memory-store-files.ts";
import { forgetRuns } from "./memory-store-forgetting.ts";
import * as logs from "./memory-store-log.ts";
import * as modules from "./memory-store-modules.ts";
import * as runs from "./memory-store-runs.ts";
import { EMPTY_STATE, type StoreState, Transaction } from "./memory-store-state.ts";
import { inspectTask } from "./memory-store-inspection.ts";
import * as submissions from "./memory-store-submissions.ts";
import * as tasks from "./memory-store-tasks.ts";

/** What outlives the process. One store at a time has it open. */
export class MemoryDisk {
  /** Sees each transaction as it becomes durable. */
  onDurable: ((before: StoreState, after: StoreState) => void) | undefined;
  #state: StoreState = EMPTY_STATE;

  get state(): StoreState {
    return this.#state;
  }

  /** Makes transactions durable, one after the other: `states` are what each has made of the state. */
  commit(states: readonly StoreState[]): void {
    for (const after of states) {
      const before = this.#state;
      this.#state = after;
      if (after !== before) this.onDurable?.(before, after);
    }
  }
}

/**
 * - `busy`: every operation is told to come back.
 * - `full`: what writes is undone and refused; what reads is answered.
 */
export type DiskTrouble = "busy" | "full";

export interface MemoryStoreInit {
  /** Default: a new one. */
  readonly disk?: MemoryDisk | undefined;
  /** How long each group takes. Default: no time. */
  readonly latency?: { readonly clock: Clock; nextMs(isWriting: boolean): number } | undefined;
}

interface Call {
  readonly isWriting: boolean;
  readonly act: (tx: Transaction) => unknown;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (reason: unknown) => void;
}

/** A group that has been carried out and waits for its commit. */
interface Group {
  readonly calls: readonly Call[];
  /** The state after none, one, two… of its transactions. */
  readonly states: readonly StoreState[];
  readonly answers: readonly (() => void)[];
}

export class MemoryStore implements Store {
  readonly disk: MemoryDisk;
  /** Set by a test, for as long as it lasts. */
  trouble: DiskTrouble | undefined;
  readonly #latency: MemoryStoreInit["latency"];
  readonly #waiting: Call[] = [];
  #group: Group | undefined;
  #timer: Timer | undefined;
  #isFlushing = false;
  #isClosing = false;
  /** Closed or crashed: nothing more is carried out. */
  #isGone = false;
  #isBroken = false;
  readonly #closed = Promise.withResolvers<void>();

  constructor(init: MemoryStoreInit = {}) {
    this.disk = init.disk ?? new MemoryDisk();
    this.#latency = init.latency;
  }

  // The contract, in its order.

  createTask(
    spec: TaskSpec,
    inspection: ModuleInspection | undefined,
    now: number,
    key?: SubmissionKey,
    limit?: SubmitterLimit,
  ) {
    const task = owned({ spec, inspection });
    return this.#write((tx) => submissions.submitTask(tx, task, now, { key, limit }));
  }

  createTasks(batch: readonly NewTask[], now: number, key?: SubmissionKey, limit?: SubmitterLimit) {
    const own = batch.map(owned);
    return this.#write((tx) => submissions.submitTasks(tx, own, now, { key, limit }));
  }

  findSubmission(key: SubmissionKey, now: number) {
    return this.#read((tx) => submissions.findSubmission(tx, key, now));
  }

  getTask(id: TaskId) {
    return this.#read((tx) => tasks.getTask(tx, id));
  }

  findTasks(ids: readonly TaskId[]) {
    return this.#read((tx) => tasks.findTasks(tx, ids));
  }

  listTasks(options: ListTasksOptions) {
    return this.#read((tx) => tasks.listTasks(tx, options));
  }

  measureQueue() {
    return this.#read(tasks.measureQueue);
  }

  countOpenRuns() {
    return this.#read(tasks.countOpenRuns);
  }

  listRuns(id: TaskId, options: { readonly fromIndex: number; readonly limit: number }) {
    return this.#read((tx) => tasks.listRuns(tx, id, options));
  }

  getRun(id: TaskId, index: number) {
    return this.#read((tx) => tasks.getRun(tx, id, index));
  }

  getLatestStartedRun(id: TaskId) {
    return this.#read((tx) => tasks.getLatestStartedRun(tx, id));
  }

  inspectTask(id: TaskId, now: number) {
    return this.#read((tx) => inspectTask(tx, id, now));
  }

  cancelTask(id: TaskId, reason: string, now: number) {
    return this.#write((tx) => tasks.cancelTask(tx, id, reason, now));
  }

  retryTask(id: TaskId, now: number, limit?: SubmitterLimit) {
    return this.#write((tx) => tasks.retryTask(tx, id, now, limit));
  }

  deleteTask(id: TaskId) {
    return this.#write((tx) => tasks.deleteTask(tx, id));
  }

  forgetFinished(endedBefore: number, limit: number, after?: FinishedPosition) {
    return this.#write((tx) => tasks.forgetFinished(tx, endedBefore, limit, after));
  }

  forgetRuns(endedBefore: number, limit: number, after: number, endedFrom = -Infinity) {
    return this.#write((tx) => forgetRuns(tx, { endedFrom, endedBefore }, limit, after));
  }

  promoteDue(now: number, limit: number, missedBefore = -Infinity) {
    return this.#write((tx) => runs.promoteDue(tx, { now, missedBefore }, limit));
  }

  listReady(now: number, limit: number, options?: ListReadyOptions) {
    return this.#read((tx) => runs.listReady(tx, now, limit, options));
  }

  nextDueAt() {
    return this.#read(runs.nextDueAt);
  }

  nextBackoffEnd(now: number) {
    return this.#read((tx) => runs.nextBackoffEnd(tx, now));
  }

  lease(id: AttemptId, worker: PeerId, now: number, leaseUntil: number) {
    return this.#write((tx) => runs.lease(tx, id, worker, now, leaseUntil));
  }

  noteEnded(ids: readonly AttemptId[]) {
    return this.#write((tx) => runs.noteEnded(tx, ids));
  }

  renew(ids: readonly AttemptId[], worker: PeerId, leaseUntil: number) {
    return this.#write((tx) => runs.renew(tx, ids, worker, leaseUntil));
  }

  listRunning(worker?: PeerId) {
    return this.#read((tx) => runs.listRunning(tx, worker));
  }

  extendAllLeases(leaseUntil: number) {
    return this.#write((tx) => runs.extendAllLeases(tx, leaseUntil));
  }

  listExpired(now: number, limit: number) {
    return this.#read((tx) => runs.listExpired(tx, now, limit));
  }

  settle(id: AttemptId, end: AttemptEnd, options: SettleOptions) {
    return this.#write((tx) => runs.settle(tx, id, end, options));
  }

  appendOutput(id: AttemptId, offset: number, stream: OutputStream, bytes: Uint8Array) {
    const owned = bytes.slice();
    return this.#write((tx) => logs.appendOutput(tx, id, offset, stream, owned));
  }

  readOutput(id: TaskId, run: number, options: ReadOutputOptions) {
    return this.#read((tx) => logs.readOutput(tx, id, run, options));
  }

  getModule(digest: Digest) {
    return this.#read((tx) => tx.state.modules.get(digest));
  }

  holdModule(digest: Digest, inspection: ModuleInspection, now: number) {
    return this.#write((tx) => modules.holdModule(tx, digest, inspection, now));
  }

  listModules(options: ListModulesOptions) {
    return this.#read((tx) => modules.listModules(tx, options));
  }

  releaseModules(heldBefore: number, limit: number, now: number, heldFrom = -Infinity) {
    return this.#write((tx) => modules.releaseModules(tx, { heldFrom, heldBefore }, limit, now));
  }

  keepFile(id: AttemptId, file: FileContent, { hasBytes }: { readonly hasBytes: boolean }) {
    return this.#write((tx) => files.keepFile(tx, id, file, hasBytes));
  }

  findKeptFile(id: TaskId, path: string, run?: number, dependent?: number) {
    return this.#read((tx) => files.findKeptFile(tx, id, path, { run, dependent }));
  }

  isBlobUsed(digest: Digest) {
    return this.#read((tx) => tasks.isBlobUsed(tx, digest));
  }

  getAdmission(peer: PeerId) {
    return this.#read((tx) => tx.state.admissions.get(peer));
  }

  setAdmission(peer: PeerId, admission: "admitted" | "barred", _now: number) {
    return this.#write((tx) => tasks.setAdmission(tx, peer, admission));
  }

  listDrained() {
    return this.#read((tx) => [...tx.state.drained]);
  }

  setDrained(peer: PeerId, isDrained: boolean, _now: number) {
    return this.#write((tx) => tasks.setDrained(tx, peer, isDrained));
  }

  getClockMark() {
    return this.#read((tx) => tx.state.clockMark);
  }

  setClockMark(at: number) {
    return this.#write((tx) => tx.set({ clockMark: at }));
  }

  /** At once, as what is known is. */
  check(): Promise<StoreTrouble | undefined> {
    const kind = this.#isBroken ? "stopped" : this.trouble === "full" ? "disk-full" : this.trouble;
    return Promise.resolve(kind === undefined ? undefined : { kind, message: `the store is in trouble: ${kind}` });
  }

  close(): Promise<void> {
    this.#isClosing = true;
    this.#flush();
    return this.#closed.promise;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // What a test can do besides.

  /** Operations that wait for their answer. */
  get pending(): number {
    return this.#waiting.length + (this.#group?.answers.length ?? 0);
  }

  /**
   * The process dies: nothing is answered any more, now or later. `durable` in [0, 1) chooses how many of the transactions
   * under way are on the disk all the same; none at 0.
   */
  crash(durable: number): void {
    this.#end(durable);
  }

  /** Only the store dies: as after a crash, but what waits is refused, and so is all that comes. */
  breakDown(durable: number): void {
    const calls = [...(this.#group?.calls ?? []), ...this.#waiting];
    this.#end(durable);
    this.#isBroken = true;
    for (const call of calls) call.reject(unavailable());
  }

  #end(durable: number): void {
    const states = this.#group?.states ?? [];
    this.disk.commit(states.slice(0, Math.floor(durable * states.length) + 1));
    this.#isGone = true;
    this.#group = undefined;
    this.#waiting.length = 0;
    this.#timer?.[Symbol.dispose]();
    this.#closed.resolve();
  }

  #read<T>(act: (tx: Transaction) => T): Promise<T> {
    return this.#call(false, act);
  }

  #write<T>(act: (tx: Transaction) => T): Promise<T> {
    return this.#call(true, act);
  }

  #call<T>(isWriting: boolean, act: (tx: Transaction) => T): Promise<T> {
    if (this.#isBroken) return Promise.reject(unavailable());
    if (this.#isClosing) return Promise.reject(failed("the store is closed", { code: "store-closed" }));
    if (this.#isGone) return new Promise<never>(() => {});
    if (this.trouble === "busy" || this.pending >= STORE_PENDING_OPERATIONS_MAX) return Promise.reject(busy());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    let answer: T;
    const carryOut = (tx: Transaction): void => {
      answer = act(tx);
    };
    this.#waiting.push({ isWriting, act: carryOut, resolve: () => resolve(answer), reject });
    if (!this.#isFlushing && this.#group === undefined) {
      this.#isFlushing = true;
      queueMicrotask(() => this.#flush());
    }
    return promise;
  }

  /** Carries out what waits, unless a group is under way: then that goes on when it is committed. */
  #flush(): void {
    this.#isFlushing = false;
    if (this.#isGone || this.#group !== undefined) return;
    if (this.#waiting.length === 0) {
      if (this.#isClosing) this.#end(0);
      return;
    }
    const calls = this.#waiting.splice(0, STORE_GROUP_OPERATIONS_MAX);
    this.#group = this.#carryOut(calls);
    const isWriting = calls.some((call) => call.isWriting);
    if (this.#latency === undefined) queueMicrotask(() => this.#commit());
    else this.#timer = this.#latency.clock.setTimer(this.#latency.nextMs(isWriting), () => this.#commit());
  }

  #carryOut(calls: readonly Call[]): Group {
    const states: StoreState[] = [this.disk.state];
    const answers: (() => void)[] = [];
    let state = this.disk.state;
    for (const call of calls) {
      try {
        if (call.isWriting && this.trouble === "full") throw full();
        const tx = new Transaction(state);
        call.act(tx);
        answers.push(() => call.resolve(undefined));
        if (call.isWriting) states.push((state = tx.state));
      } catch (thrown) {
        answers.push(() => call.reject(thrown));
      }
    }
    return { calls, states, answers };
  }

  #commit(): void {
    const group = this.#group;
    if (group === undefined) return;
    this.#group = undefined;
    this.disk.commit(group.states);
    for (const answer of group.answers) answer();
    this.#flush();
  }
}

function owned({ spec, inspection }: NewTask): NewTask {
  return { spec: { ...spec, stdin: spec.stdin.slice() }, inspection };
}

function busy(): Error {
  return new StoreFailure("busy", "too much waits for the store: try again in a moment");
}

function full(): Error {
  return new StoreFailure("disk-full", "the disk is full: free some space");
}

function unavailable(): Error {
  return new StoreFailure("stopped", "the store is gone: start this process again");
}
