/**
 * A real gateway on a real store for the benchmarks of scheduling, without HTTP and without guests: a worker in the same
 * process, over a real RPC connection, ends each run the moment it gets it.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PeerId, parsePeerId, parseTaskId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import { INSPECTION, taskSpec } from "../store/store-samples.ts";
import { HandWorker } from "../support/hand-worker.ts";
import { SeededRandom } from "../support/seeded-random.ts";

export class BenchFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<BenchFolder> {
    return new BenchFolder(await mkdtemp(join(tmpdir(), "capmesh-bench-")));
  }

  /** One that is somebody else's: it is not to be disposed. */
  static at(path: string): BenchFolder {
    return new BenchFolder(path);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

/** A gateway may be opened on what another one has left. */
let nextId = 0;

export class BenchGateway implements AsyncDisposable {
  readonly store: SqliteStore;
  readonly gateway: Gateway;
  /** When each task's run came to the worker, by the wall clock. */
  readonly startedAt = new Map<string, number>();
  readonly #worker: HandWorker;

  private constructor(store: SqliteStore, gateway: Gateway, worker: HandWorker) {
    this.store = store;
    this.gateway = gateway;
    this.#worker = worker;
  }

  static async open(folder: BenchFolder, { path = folder.file("capmesh.db"), slots = 64 } = {}): Promise<BenchGateway> {
    const store = await SqliteStore.open({ path, log: silentLog });
    const gateway = await Gateway.start({
      store,
      blobs: await FileBlobStore.open(folder.file("blobs")),
      verifier: { makeNonce: () => new Uint8Array(), verify: () => undefined },
      isOpen: true,
      policy: "random",
      clock: systemClock,
      random: new SeededRandom(1),
      log: silentLog,
    });
    const worker = new HandWorker({ gateway, peer: workerPeer(), state: { slots } });
    const bench = new BenchGateway(store, gateway, worker);
    await worker.join();
    worker.offer(slots);
    void bench.#work();
    return bench;
  }

  /** Resolves when it is durable. */
  async submit(changes: Partial<TaskSpec> = {}): Promise<string> {
    const id = parseTaskId(`bench-${nextId++}`);
    if (id === undefined) throw new Error("no task id");
    const now = systemClock.now();
    const created = await this.gateway.tasks.submit({ ...taskSpec(id), firstDueAt: now, ...changes }, INSPECTION, now);
    if (created.kind !== "created") throw new Error(`${id}: ${created.kind}`);
    return id;
  }

  /** Resolves when so many runs have come to the worker. */
  async started(count: number): Promise<void> {
    while (this.startedAt.size < count) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker[Symbol.asyncDispose]();
    await this.gateway.close();
    await this.store.close();
  }

  async #work(): Promise<never> {
    for (;;) {
      const run = await this.#worker.nextRun();
      this.startedAt.set(run.id.task, systemClock.now());
      run.end();
      this.#worker.offer();
    }
  }
}

function workerPeer(): PeerId {
  const peer = parsePeerId(`12D3KooW${"b".repeat(44)}`);
  if (peer === undefined) throw new Error("no peer id");
  return peer;
}
