/**
 * A gateway's HTTP side over a real store and real blobs in a folder of its own, with nobody behind it: tests lease,
 * write and settle runs by hand, as a worker's attempts would, and tell of it as the gateway does.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { CapmeshClient } from "../../src/client/client.ts";
import type { Clock } from "../../src/base/clock.ts";
import { type PeerId, type TaskId, parsePeerId, parseTaskId } from "../../src/base/ids.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { failed, overloaded } from "../../src/base/errors.ts";
import { EventHub } from "../../src/gateway/events.ts";
import { HttpServer, type HttpServerInit } from "../../src/gateway/http/http-server.ts";
import { BlobPins } from "../../src/gateway/blob-pins.ts";
import { StoreHealth } from "../../src/gateway/store-health.ts";
import type { TaskService } from "../../src/gateway/services.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { Member, WorkerView } from "../../src/model/worker.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { TestAccess } from "./test-access.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { Store } from "../../src/store/store.ts";
import { inlineInspector } from "./inline-inspector.ts";

export const WORKER = requirePeer("12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2");

export interface ApiGatewayInit extends Partial<
  Pick<
    HttpServerInit,
    "address" | "allowHosts" | "moduleBytesMax" | "uploadsBytesHeldMax" | "readiness" | "tls" | "registry"
  >
> {
  readonly clock?: Clock;
  /** The gateway's own token. */
  readonly adminToken?: string | undefined;
  /** Of the HTTP server. */
  readonly log?: Log;
}

export class ApiGateway implements AsyncDisposable {
  readonly events = new EventHub();
  readonly pins: BlobPins;
  readonly workers: WorkerView[] = [];
  readonly members: Member[] = [];
  /** What was asked of the worker directory. */
  readonly admissions: string[] = [];
  isQueueFull = false;
  isSecretGiven = false;
  readonly store: SqliteStore;
  readonly blobs: FileBlobStore;
  readonly #folder: string;
  readonly #init: ApiGatewayInit;
  #server: HttpServer | undefined;
  #access: TestAccess | undefined;

  static async open(init: ApiGatewayInit = {}): Promise<ApiGateway> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-api-"));
    const store = await SqliteStore.open({ path: join(folder, "capmesh.db"), log: silentLog });
    const gateway = new ApiGateway(folder, store, await FileBlobStore.open(join(folder, "blobs")), init);
    await gateway.listen();
    return gateway;
  }

  private constructor(folder: string, store: SqliteStore, blobs: FileBlobStore, init: ApiGatewayInit) {
    this.#folder = folder;
    this.store = store;
    this.blobs = blobs;
    this.pins = new BlobPins({ store, blobs, log: silentLog });
    this.#init = init;
  }

  get server(): HttpServer {
    if (this.#server === undefined) throw new Error("the server is closed");
    return this.#server;
  }

  get url(): string {
    return this.server.url;
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** The database as another program opens it, which writes to it while the store has it. */
  openBeside(): DatabaseSync {
    return new DatabaseSync(join(this.#folder, "capmesh.db"), { timeout: 30_000 });
  }

  client(): CapmeshClient {
    return new CapmeshClient({ url: this.url, token: this.#init.adminToken });
  }

  /** Opens the server; again on the port it had. */
  async listen(port = 0): Promise<void> {
    const clock = this.#init.clock ?? systemClock;
    this.#access = await TestAccess.open({ store: this.store, clock, rootToken: this.#init.adminToken });
    this.#server = await HttpServer.open({
      address: this.#init.address ?? { host: "127.0.0.1", port },
      store: this.store,
      blobs: this.blobs,
      pins: this.pins,
      tasks: this.#taskService(),
      workers: {
        list: () => this.workers,
        get: (id) => this.workers.find((worker) => worker.id === id),
        admit: async (id) => void this.admissions.push(`admit ${id}`),
        drain: async (id, { graceMs } = {}) => {
          this.admissions.push(`drain ${id} ${graceMs}`);
          return this.workers.some((worker) => worker.id === id);
        },
        forget: async (id) => void this.admissions.push(`forget ${id}`),
      },
      members: { members: () => this.members },
      joinSecret: {
        rotate: async ({ graceMs }) => {
          if (this.isSecretGiven) throw failed("it was given", { code: "secret-configured" });
          this.admissions.push(`rotate ${graceMs}`);
          return { dial: `${WORKER}#a-new-secret`, previousUntil: graceMs > 0 ? clock.now() + graceMs : undefined };
        },
      },
      events: this.events,
      readiness: this.#init.readiness ?? { notReadyBecause: () => undefined },
      storeHealth: new StoreHealth({ store: this.store, blobs: this.blobs, clock, log: silentLog }),
      inspector: inlineInspector,
      clock,
      log: this.#init.log ?? silentLog,
      version: "0.0.0-test",
      allowHosts: this.#init.allowHosts,
      tokens: this.#access.tokens,
      audit: this.#access.audit,
      tls: this.#init.tls,
      registry: this.#init.registry,
      moduleBytesMax: this.#init.moduleBytesMax,
      uploadsBytesHeldMax: this.#init.uploadsBytesHeldMax,
    });
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    await this.#access?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  /** Names of finished blobs and of unfinished ones. */
  async files(): Promise<{ readonly blobs: readonly string[]; readonly unfinished: readonly string[] }> {
    const found = await readdir(join(this.#folder, "blobs"), { recursive: true, withFileTypes: true });
    const files = found.filter((entry) => entry.isFile());
    return {
      blobs: files.filter(({ name }) => /^[0-9a-f]{64}$/.test(name)).map(({ name }) => name),
      unfinished: files.filter(({ name }) => !/^[0-9a-f]{64}$/.test(name)).map(({ name }) => name),
    };
  }

  /** Begins the next attempt of a run on `worker`. */
  async start(task: string, run = 1, worker: PeerId = WORKER): Promise<AttemptId> {
    const now = systemClock.now();
    // Far ahead: tests do not wait for due times.
    await this.store.promoteDue(now + 400 * 86_400_000, 1_000);
    const ready = (await this.store.listReady(now + 400 * 86_400_000, 1_000)).find(
      (candidate) => candidate.spec.id === task && candidate.index === run,
    );
    if (ready === undefined) throw new Error(`run ${run} of ${task} is not ready`);
    const id = { task: taskId(task), serial: ready.serial, run, attempt: ready.nextAttempt };
    if (!(await this.store.lease(id, worker, now, now + 15_000))) throw new Error("the lease was refused");
    this.events.publish({ type: "run", task: id.task, run, attempt: id.attempt, state: "running" });
    return id;
  }

  /** Appends at the end of the attempt's log. */
  async write(id: AttemptId, stream: OutputStream, bytes: Uint8Array | string): Promise<void> {
    const running = (await this.store.listRunning()).find(
      ({ id: { serial, run } }) => serial === id.serial && run === id.run,
    );
    const content = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    // The store takes what it is given with it.
    const appended = await this.store.appendOutput(id, running?.outputBytes ?? 0, stream, Uint8Array.from(content));
    if (appended.kind !== "appended") throw new Error(`appending is ${appended.kind}`);
    this.events.publish({
      type: "output",
      task: id.task,
      run: id.run,
      outputBytes: appended.runOffset + appended.durableOffset,
    });
  }

  async settle(id: AttemptId, outcome: Outcome, end: Partial<AttemptEnd> = {}): Promise<void> {
    const running = (await this.store.listRunning()).find(
      ({ id: { serial, run } }) => serial === id.serial && run === id.run,
    );
    const usage = { wallMs: 5, cpuMs: 4, memoryBytes: 65_536 };
    const outputBytes = running?.outputBytes ?? 0;
    const result = await this.store.settle(
      id,
      { outcome, usage, outputBytes, outputTruncated: false, ...end },
      { now: systemClock.now(), backoffJitter: 0 },
    );
    if (result.kind !== "settled") throw new Error("the settlement is stale");
    this.events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: result.run.state });
    this.events.publish({ type: "task", task: id.task, state: result.task.state });
  }

  async succeed(id: AttemptId, end: Partial<AttemptEnd> = {}): Promise<void> {
    await this.settle(id, { kind: "exited", code: 0 }, end);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.store.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  #taskService(): TaskService {
    const { store, events, pins } = this;
    const requireRoom = async (): Promise<void> => {
      if (!this.isQueueFull) return;
      throw overloaded("too many tasks", { code: "queue-full", retryAfterMs: 7_001 });
    };
    return {
      requireRoom,
      submitAll: async (tasks, now, { key, limit } = {}) => {
        await requireRoom();
        const result = await store.createTasks(tasks, now, key, limit);
        if (result.kind === "submitter-full") throw submitterFull();
        if (result.kind !== "created") return result;
        for (const { spec, state } of result.tasks) events.publish({ type: "task", task: spec.id, state });
        return result;
      },
      submit: async (spec, inspection, now, { key, limit } = {}) => {
        await requireRoom();
        const result = await store.createTask(spec, inspection, now, key, limit);
        if (result.kind === "submitter-full") throw submitterFull();
        if (result.kind === "created") events.publish({ type: "task", task: spec.id, state: result.task.state });
        return result;
      },
      cancel: async (id, reason) => {
        const result = await store.cancelTask(id, reason, systemClock.now());
        if (result.kind === "cancelled") events.publish({ type: "task", task: id, state: "cancelled" });
        return result;
      },
      retry: async (id, limit) => {
        const result = await store.retryTask(id, systemClock.now(), limit);
        if (result.kind === "submitter-full") throw submitterFull();
        if (result.kind === "retried") events.publish({ type: "task", task: id, state: result.task.state });
        return result;
      },
      delete: async (id) => {
        const result = await store.deleteTask(id);
        if (result.kind !== "deleted") return false;
        events.publish({ type: "task", task: id, state: "deleted" });
        await pins.retireFreed(result.freed);
        return true;
      },
    };
  }
}

function submitterFull(): Error {
  return overloaded("too many tasks of this token", { code: "rate-limited", retryAfterMs: 7_001 });
}

export function taskId(text: string): TaskId {
  const id = parseTaskId(text);
  if (id === undefined) throw new Error(`${text} is no task id`);
  return id;
}

function requirePeer(text: string): PeerId {
  const id = parsePeerId(text);
  if (id === undefined) throw new Error(`${text} is no peer id`);
  return id;
}

export async function hasNoTasks(store: Store): Promise<boolean> {
  return (await store.listTasks({ limit: 1 })).tasks.length === 0;
}
