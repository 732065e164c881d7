/**
 * The client of the store's thread: sends it requests, batched by tick, and settles their promises as the answers come.
 * What waits is bounded, by number and by bytes. When the thread dies, all that waits is rejected, and all that comes.
 */
import { once } from "node:events";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { type ClusterError, failed, messageOf } from "../../base/errors.ts";
import { STORE_PENDING_BYTES_MAX, STORE_PENDING_OPERATIONS_MAX } from "../../base/limits.ts";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { StoreMeter, StoreStats } from "../store-meter.ts";
import { StoreFailure } from "../trouble.ts";
import { decodeError } from "./error-wire.ts";
import type { Answer, Args, FromThread, OperationName, Reply, SentRequest, ThreadInit, ToThread } from "./messages.ts";

/** Who is told how long operations take, and by what clock. */
export interface StoreMeasuring {
  readonly meter: StoreMeter;
  readonly clock: Pick<Clock, "monotonicMs">;
}

export interface StoreThreadInit {
  readonly path: string;
  readonly log: Log;
  readonly measuring?: StoreMeasuring | undefined;
}

interface Pending {
  readonly name: OperationName;
  /** By the clock of whoever measures. */
  readonly calledMs: number;
  readonly bytes: number;
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class StoreThread {
  readonly #worker: Worker;
  readonly #path: string;
  readonly #log: Log;
  readonly #measuring: StoreMeasuring | undefined;
  readonly #pending = new Map<number, Pending>();
  #pendingBytes = 0;
  #batch: SentRequest[] = [];
  #transfer: ArrayBuffer[] = [];
  #nextId = 1;
  #commits = 0;
  #operations = 0;
  #isClosing = false;
  #end: ClusterError | undefined;
  #ended: Promise<void>;

  private constructor(worker: Worker, { path, log, measuring }: StoreThreadInit) {
    this.#worker = worker;
    this.#measuring = measuring;
    this.#path = path;
    this.#log = log;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#ended = promise;
    worker.on("error", (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    worker.on("exit", () => {
      this.#fail(undefined);
      resolve();
    });
  }

  /** Starts the thread and waits until it has the file open. Rejects with `store-unavailable`, and leaves no thread. */
  static async open(threadInit: StoreThreadInit): Promise<StoreThread> {
    // The entry is a .ts in the clone and a .js in the published package, as this file is.
    const extension = extname(fileURLToPath(import.meta.url));
    const init: ThreadInit = { path: threadInit.path };
    const worker = new Worker(new URL(`./thread-entry${extension}`, import.meta.url), {
      workerData: init,
      name: "capmesh-store",
    });
    const thread = new StoreThread(worker, threadInit);
    const [first] = await Promise.race([
      // Whatever kills the thread is kept by `#fail`, and ends it.
      once(worker, "message").then(decodeMessages, () => thread.#ended.then((): FromThread[] => [])),
      thread.#ended.then((): FromThread[] => []),
    ]);
    if (first?.kind === "opened") {
      worker.on("message", (message: FromThread) => thread.#receive(message));
      return thread;
    }
    await (first === undefined ? thread.#ended : thread.close());
    throw first?.kind === "refused" ? decodeError(first.error) : (thread.#end ?? thread.#unavailable(undefined));
  }

  get stats(): StoreStats {
    return { commits: this.#commits, operations: this.#operations, pending: this.#pending.size };
  }

  /**
   * Carries out an operation after those that were called before. `owned` are bytes within `args`, in buffers of their
   * own, that the thread takes.
   */
  call<Name extends OperationName>(
    name: Name,
    args: Args<Name>,
    owned: readonly Uint8Array<ArrayBuffer>[] = [],
  ): Promise<Answer<Name>> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    if (this.#isClosing) return Promise.reject(closed());
    const bytes = owned.reduce((sum, each) => sum + each.byteLength, 0);
    if (!this.#hasRoom(bytes)) return Promise.reject(busy());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const calledMs = this.#measuring?.clock.monotonicMs() ?? 0;
      const onAnswer = (answer: unknown): void => resolve(decodeAnswer<Name>(answer));
      this.#pending.set(id, { name, calledMs, bytes, resolve: onAnswer, reject });
      this.#pendingBytes += bytes;
      if (this.#batch.length === 0) queueMicrotask(() => this.#flush());
      this.#batch.push({ id, name, args });
      for (const each of owned) if (each.byteLength > 0) this.#transfer.push(each.buffer);
    });
  }

  /** Waits for all that was called, and for the file to be closed. Idempotent. */
  close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      this.#flush();
      this.#post({ kind: "close" }, []);
    }
    return this.#ended;
  }

  #hasRoom(bytes: number): boolean {
    if (this.#pending.size >= STORE_PENDING_OPERATIONS_MAX) return false;
    return bytes === 0 || this.#pendingBytes === 0 || this.#pendingBytes + bytes <= STORE_PENDING_BYTES_MAX;
  }

  #flush(): void {
    if (this.#batch.length === 0) return;
    const requests = this.#batch;
    const transfer = this.#transfer;
    this.#batch = [];
    this.#transfer = [];
    this.#post({ kind: "requests", requests }, transfer);
  }

  #post(message: ToThread<SentRequest>, transfer: ArrayBuffer[]): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromThread): void {
    if (message.kind !== "replies") return;
    this.#commits = message.commits;
    for (const reply of message.replies) this.#settle(reply);
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    this.#pendingBytes -= pending.bytes;
    this.#operations++;
    if (this.#measuring !== undefined) {
      const { meter, clock } = this.#measuring;
      meter.answered(pending.name, clock.monotonicMs() - pending.calledMs, "error" in reply);
    }
    if ("error" in reply) pending.reject(decodeError(reply.error));
    else pending.resolve(reply.answer);
  }

  /** The thread is gone. Without a cause it has ended by itself, which is right only after `close`. */
  #fail(cause: Error | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = this.#isClosing && cause === undefined ? closed() : this.#unavailable(cause);
    if (cause !== undefined) this.#log.error("the store's thread has died", { path: this.#path, error: cause });
    for (const pending of this.#pending.values()) pending.reject(this.#end);
    this.#pending.clear();
    this.#pendingBytes = 0;
  }

  #unavailable(cause: Error | undefined): ClusterError {
    const why = cause === undefined ? "it has ended" : messageOf(cause);
    const message = `the thread that has the database ${this.#path} is gone (${why}): start this process again`;
    return new StoreFailure("stopped", message, cause);
  }
}

function closed(): ClusterError {
  return failed("the store is closed", { code: "store-closed" });
}

function busy(): ClusterError {
  return new StoreFailure("busy", "too much waits for the store: try again in a moment");
}

function decodeMessages(values: unknown[]): FromThread[] {
  return values as FromThread[];
}

/** The thread answers each request by the name it came with. */
function decodeAnswer<Name extends OperationName>(answer: unknown): Answer<Name> {
  return answer as Answer<Name>;
}
