/**
 * A worker server, and the gateway's end of its sessions driven by hand: real connections, a real offer channel, a clock
 * that the test moves. At its end nothing may be left: no table entry, timer, guest or file.
 */
import { wasmExecutors } from "../../src/worker/executors.ts";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import type { PeerId } from "../../src/base/ids.ts";
import { LEASE_MS, LEASE_RENEW_EVERY_MS } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import type { RunClient } from "../../src/caps/run.ts";
import { WorkerClient } from "../../src/caps/worker.ts";
import {
  type HeldAttempt,
  type ResumeVerdict,
  serveWorkerSession,
  WorkerSessionClient,
  type WorkerSessionTarget,
} from "../../src/caps/worker-session.ts";
import { OfferChannel } from "../../src/channel/offer-channel.ts";
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { RunSpec } from "../../src/model/run-spec.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import type { Capability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import type { Executor } from "../../src/worker/guest.ts";
import { KeptOutcomes } from "../../src/worker/kept-outcomes.ts";
import { ModuleCache } from "../../src/worker/module-cache.ts";
import { WorkerServer } from "../../src/worker/worker-server.ts";
import { isIdle } from "../rpc/vats.ts";
import { FakeExecutor } from "../support/fake-executor.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { type MemoryStreamPair, memoryStreamPair } from "../support/memory-byte-stream.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import {
  attemptId,
  bytesOf,
  DurableLog,
  type FileSource,
  ModuleSource,
  type OnWrite,
  peerId,
  specOf,
} from "./gateway-parts.ts";

const WORKER = peerId("W");
const GATEWAY = peerId("G");
/** Modules and output go through real files, on a disk that may be busy. */
const WAIT_MS_MAX = 20_000;

/** Waits until the condition holds; fails with what `describe` says if it does not come to hold. */
export async function until(condition: () => boolean, describe: () => string = () => "a condition"): Promise<void> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > WAIT_MS_MAX) throw new Error(`never came to hold: ${describe()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What the gateway does with one worker's session. */
export interface GatewayScript {
  readonly onResume?: (held: readonly HeldAttempt<RunClient>[]) => Promise<readonly ResumeVerdict<Capability>[]>;
  readonly onRenew?: (ids: readonly AttemptId[]) => Promise<readonly AttemptId[]>;
  readonly onDrain?: () => void | Promise<void>;
  /** Whose session it is; default: always the same. */
  readonly gateway?: PeerId;
  /** Replaces the channel's sender. */
  readonly sender?: Capability;
}

/** One connection between worker and gateway with one session on it. */
export class SessionEnd implements WorkerSessionTarget, AsyncDisposable {
  /** Resolves, or rejects, as `serve` did. */
  readonly served: Promise<void>;
  /** Runs that the worker said it holds. */
  resumed: readonly HeldAttempt<RunClient>[] | undefined;
  readonly renewals: (readonly AttemptId[])[] = [];
  lastState: WorkerState | undefined;
  isDraining = false;
  readonly gateway: Connection;
  readonly worker: Connection;
  readonly #streams: MemoryStreamPair = memoryStreamPair();
  readonly #ended = new AbortController();
  readonly #script: GatewayScript;
  readonly #sender: Capability;

  constructor(harness: WorkerHarness, script: GatewayScript) {
    const { clock } = harness;
    this.#script = script;
    this.#sender = script.sender ?? harness.channel.senderFor({ peer: WORKER, signal: this.#ended.signal });
    using bootstrap = serveWorkerSession(this);
    this.gateway = new Connection({ stream: this.#streams.a, bootstrap, clock, log: silentLog });
    this.worker = new Connection({ stream: this.#streams.b, clock, log: silentLog });
    const session = new WorkerSessionClient(this.worker.bootstrap());
    this.served = harness.server.serve(session, { gateway: script.gateway ?? GATEWAY, signal: this.worker.ended });
    this.served.catch(() => {});
    this.gateway.ended.addEventListener("abort", () => this.#end());
  }

  offers() {
    return { sender: this.#sender, leaseMs: LEASE_MS, renewEveryMs: LEASE_RENEW_EVERY_MS };
  }

  async resume(held: readonly HeldAttempt<RunClient>[]): Promise<readonly ResumeVerdict<Capability>[]> {
    this.resumed = held;
    if (this.#script.onResume) return this.#script.onResume(held);
    return held.map(() => ({ kind: "stop", reason: "not known here" }));
  }

  async renew(ids: readonly AttemptId[], state: WorkerState): Promise<readonly AttemptId[]> {
    this.renewals.push(ids);
    this.lastState = state;
    return (await this.#script.onRenew?.(ids)) ?? [];
  }

  async drain(): Promise<void> {
    this.isDraining = true;
    await this.#script.onDrain?.();
  }

  /** As when the network fails: nothing is said. */
  async cut(): Promise<void> {
    this.#streams.a.abort(disconnected("cut"));
    await this.served.catch(() => {});
  }

  get stats(): string {
    return JSON.stringify({ gateway: this.gateway.stats(), worker: this.worker.stats() });
  }

  /** Nothing of the tables is left but the session itself. */
  async idle(entries: number): Promise<void> {
    const count = () =>
      [this.gateway.stats(), this.worker.stats()]
        .map((stats) => stats.questions + stats.answers + stats.exports + stats.imports)
        .reduce((sum, each) => sum + each, 0);
    await until(
      () => count() === entries,
      () => `${entries} entries: ${this.stats}`,
    );
  }

  #end(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(disconnected("the session is over"));
    this.#sender[Symbol.dispose]();
    for (const { run } of this.resumed ?? []) run[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker.close();
    await this.gateway.close();
    await this.served.catch(() => {});
    expect(isIdle(this.gateway) && isIdle(this.worker) ? "idle" : this.stats).toBe("idle");
    await this.#streams[Symbol.asyncDispose]();
  }
}

/** One attempt as its gateway has it. */
export class GatewayAttempt implements Disposable {
  readonly log: DurableLog;
  readonly run: RunClient;

  constructor(log: DurableLog, run: RunClient) {
    this.log = log;
    this.run = run;
  }

  [Symbol.dispose](): void {
    this.run[Symbol.dispose]();
  }
}

export interface WorkerHarnessInit {
  readonly slots?: number;
  /** Default: outcomes are put on the disk. */
  readonly keepsOutcomes?: boolean;
  readonly executor?: Executor;
}

export class WorkerHarness implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly channel = new OfferChannel();
  readonly executor = new FakeExecutor();
  readonly module = new ModuleSource(bytesOf(1_000));
  readonly spoolFolder: string;
  readonly #folder: string;
  readonly #modules: ModuleCache;
  readonly #init: WorkerHarnessInit;
  readonly #sessions = new AsyncDisposableStack();
  #outcomesFolder: string;
  #server: WorkerServer;
  #restarts = 0;
  #serial = 0;

  private constructor(folder: string, modules: ModuleCache, outcomes: KeptOutcomes, init: WorkerHarnessInit) {
    this.#folder = folder;
    this.#modules = modules;
    this.#init = init;
    this.spoolFolder = join(folder, "spool");
    this.#outcomesFolder = join(folder, "outcomes");
    this.#server = this.#open(outcomes);
  }

  static async open(init: WorkerHarnessInit = {}): Promise<WorkerHarness> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-worker-"));
    await mkdir(join(folder, "spool"));
    const clock = new ManualClock();
    const outcomes = await KeptOutcomes.open({ folder: join(folder, "outcomes"), clock, log: silentLog });
    const modules = await ModuleCache.open(join(folder, "modules"), { clock });
    return new WorkerHarness(folder, modules, outcomes, init);
  }

  #open(outcomes: KeptOutcomes): WorkerServer {
    return new WorkerServer({
      executors: wasmExecutors(this.#init.executor ?? this.executor),
      modules: this.#modules,
      slots: this.#init.slots ?? 2,
      weight: 1,
      labels: { zone: "a" },
      version: "1.2.3",
      spoolFolder: this.spoolFolder,
      outcomes: this.#init.keepsOutcomes === false ? undefined : outcomes,
      clock: this.clock,
      random: new SeededRandom(1),
      log: silentLog,
    });
  }

  get server(): WorkerServer {
    return this.#server;
  }

  /** Outcomes on the disk. */
  async kept(): Promise<readonly string[]> {
    const names = await readdir(this.#outcomesFolder);
    return names.filter((name) => !name.endsWith(".part"));
  }

  /** The worker's process ends, orderly or `killed`, and the next one takes up what is on the disk at that moment. */
  async restart({ killed = false } = {}): Promise<void> {
    const folder = join(this.#folder, `outcomes-${++this.#restarts}`);
    const copy = () => cp(this.#outcomesFolder, folder, { recursive: true });
    if (killed) await copy();
    await this.#server.close();
    if (!killed) await copy();
    this.#outcomesFolder = folder;
    this.#server = this.#open(await KeptOutcomes.open({ folder, clock: this.clock, log: silentLog }));
  }

  connect(script: GatewayScript = {}): SessionEnd {
    return this.#sessions.use(new SessionEnd(this, script));
  }

  async offersWaiting(count: number): Promise<void> {
    await until(
      () => this.channel.offers.waiting().length === count,
      () => `${count} offers wait; ${this.channel.offers.waiting().length} do`,
    );
  }

  /** Takes an offer; the worker becomes the caller's. */
  async take(): Promise<WorkerClient> {
    await until(() => this.channel.offers.waiting().length > 0);
    const [offer] = this.channel.offers.waiting();
    const taken = offer && this.channel.offers.take(offer);
    if (taken === undefined) throw new Error("the offer is gone");
    return new WorkerClient(taken.worker);
  }

  /** Takes an offer and begins an attempt with it. */
  async begin(spec: Partial<RunSpec> = {}, onWrite?: OnWrite): Promise<GatewayAttempt> {
    using worker = await this.take();
    return this.beginOn(worker, spec, onWrite);
  }

  beginOn(
    worker: WorkerClient,
    spec: Partial<RunSpec> = {},
    onWrite?: OnWrite,
    source: ModuleSource = this.module,
    files?: FileSource,
  ): GatewayAttempt {
    const log = new DurableLog();
    using output = log.output(onWrite);
    using module = source.client();
    using contents = files?.client();
    const run = worker.run(
      specOf(source, { id: attemptId(++this.#serial), files: files?.files ?? [], ...spec }),
      module.capability,
      output.capability,
      contents?.capability,
    );
    return new GatewayAttempt(log, run);
  }

  /** The guest that was begun as the so-manyth, from 0. */
  async guest(index: number) {
    await until(
      () => this.executor.runs.length > index,
      () => `guest ${index} has begun`,
    );
    const run = this.executor.runs[index];
    if (run === undefined) throw new Error("no such guest");
    return run;
  }

  /** Adopts all, each where its log ends. */
  static adopting(logs: ReadonlyMap<string, DurableLog>): NonNullable<GatewayScript["onResume"]> {
    return async (held) =>
      held.map(({ id }) => {
        const log = logs.get(attemptKey(id));
        if (log === undefined) return { kind: "stop", reason: "not known here" };
        return { kind: "adopt", output: log.output().capability, offset: log.length };
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    await this.#sessions.disposeAsync();
    this.channel.close();
    const spooled = await readdir(this.spoolFolder);
    await rm(this.#folder, { recursive: true });
    expect(spooled).toEqual([]);
    expect(this.executor.active).toBe(0);
    expect(this.clock.pendingTimers).toBe(0);
  }
}
