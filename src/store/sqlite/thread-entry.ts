/**
 * The store's thread: it has the SQLite file and nothing else. Requests that come while a transaction is being committed
 * wait in its queue and make the next one.
 *
 * The queue is bounded by its only client, which counts what it has not been answered (`store-thread.ts`).
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { assert } from "../../base/errors.ts";
import { STORE_IDLE_MS } from "../../base/limits.ts";
import { Chores } from "./chores.ts";
import { Database } from "./database.ts";
import { encodeError } from "./error-wire.ts";
import { GroupCommit } from "./group-commit.ts";
import type { ErrorWire, FromThread, Reply, Request, ThreadInit, ToThread } from "./messages.ts";
import { operationsOn } from "./operations.ts";
import { TroubleWatch } from "./trouble-watch.ts";
import { toStoreError } from "./sqlite-errors.ts";

class StoreLoop {
  readonly #port: MessagePort;
  readonly #db: Database;
  readonly #watch: TroubleWatch;
  readonly #group: GroupCommit;
  readonly #chores: Chores;
  #idleTimer: NodeJS.Timeout | undefined;
  #requests: readonly Request[] = [];
  #head = 0;
  readonly #batches: (readonly Request[])[] = [];
  #isClosing = false;
  #isScheduled = false;

  constructor(port: MessagePort, db: Database) {
    this.#port = port;
    this.#db = db;
    this.#watch = new TroubleWatch(db);
    this.#group = new GroupCommit(db, operationsOn(db, this.#watch), this.#watch);
    this.#chores = new Chores(db, this.#watch);
  }

  start(): void {
    this.#port.on("message", (message: ToThread) => {
      if (message.kind === "close") this.#isClosing = true;
      else this.#batches.push(message.requests);
      this.#schedule();
    });
    if (this.#group.hasGraves) this.#schedule();
  }

  /** After what has come by now was taken from the port, so that it goes into the same transaction. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    clearTimeout(this.#idleTimer);
    setImmediate(() => {
      this.#isScheduled = false;
      this.#step();
    });
  }

  #step(): void {
    if (this.peek() !== undefined) {
      const replies = this.#group.next(this);
      const answered: FromThread = { kind: "replies", replies, commits: this.#group.commits };
      this.#port.postMessage(answered, transferables(replies));
    } else if (this.#isClosing) {
      this.#db[Symbol.dispose]();
      this.#port.close();
      return;
    } else if (this.#group.hasGraves) {
      this.#group.purgeSome();
    }
    if (this.#isClosing || this.#group.hasGraves || this.peek() !== undefined) this.#schedule();
    else this.#restLater(STORE_IDLE_MS);
  }

  /** Sees to the file bit by bit once nothing has been wanted for this long. */
  #restLater(afterMs: number): void {
    clearTimeout(this.#idleTimer);
    this.#idleTimer = setTimeout(() => {
      if (this.#isScheduled) return;
      try {
        if (this.#chores.step()) this.#restLater(0);
      } catch {
        // Whoever writes next meets the same trouble, and is told. What was left to do is done another time.
      }
    }, afterMs);
  }

  peek(): Request | undefined {
    while (this.#head === this.#requests.length) {
      const next = this.#batches.shift();
      if (next === undefined) return undefined;
      this.#requests = next;
      this.#head = 0;
    }
    return this.#requests[this.#head];
  }

  shift(): Request | undefined {
    const request = this.peek();
    this.#head++;
    return request;
  }
}

/** Buffers of the answers that are nobody else's: they move instead of being copied. */
function transferables(replies: readonly Reply[]): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  const add = (bytes: Uint8Array | undefined): void => {
    if (bytes?.buffer instanceof ArrayBuffer && bytes.byteLength > 0) buffers.add(bytes.buffer);
  };
  for (const reply of replies) {
    if (!("answer" in reply) || typeof reply.answer !== "object" || Array.isArray(reply.answer)) continue;
    const { answer } = reply;
    if ("chunks" in answer) for (const chunk of answer.chunks) add(chunk.bytes);
    if ("specs" in answer) for (const { spec } of answer.specs) add(spec.stdin);
    if ("tasks" in answer && typeof answer.tasks !== "number") for (const task of answer.tasks) add(task.spec?.stdin);
    if ("spec" in answer) add(answer.spec?.stdin);
    if ("task" in answer && typeof answer.task === "object") add(answer.task.spec?.stdin);
  }
  return Array.from(buffers);
}

function openFile(init: ThreadInit): Database | ErrorWire {
  try {
    return Database.open(init.path);
  } catch (thrown) {
    return encodeError(toStoreError(thrown, init.path));
  }
}

function decodeThreadInit(sent: unknown): ThreadInit {
  return sent as ThreadInit;
}

function main(): void {
  assert(parentPort !== null, "this file is started as a thread");
  const opened = openFile(decodeThreadInit(workerData));
  if (!(opened instanceof Database)) {
    const refused: FromThread = { kind: "refused", error: opened };
    parentPort.postMessage(refused);
    // The thread ends when it is told that this has come: what is sent at the very end may not arrive.
    const port = parentPort;
    port.once("message", () => port.close());
    return;
  }
  new StoreLoop(parentPort, opened).start();
  const ready: FromThread = { kind: "opened" };
  parentPort.postMessage(ready);
}

main();
