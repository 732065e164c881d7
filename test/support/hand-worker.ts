/** A worker that a test drives by hand, over a real connection: it does what it is told, right or wrong. */
import { type ClusterError, disconnected } from "../../src/base/errors.ts";
import type { PeerId } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { BootstrapClient, type Credential, type Verdict } from "../../src/caps/bootstrap.ts";
import type { FilesClient } from "../../src/caps/files.ts";
import type { ModuleClient } from "../../src/caps/module.ts";
import type { OfferSenderClient } from "../../src/caps/offers.ts";
import type { OutputClient } from "../../src/caps/output.ts";
import { type RunTarget, serveRun } from "../../src/caps/run.ts";
import { type RunSources, serveWorker } from "../../src/caps/worker.ts";
import type { ResumeVerdict, WorkerSessionClient } from "../../src/caps/worker-session.ts";
import type { Gateway } from "../../src/gateway/gateway.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { RunSpec } from "../../src/model/run-spec.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { PEER_SILENT } from "../../src/rpc/byte-stream.ts";
import { Connection, type ConnectionStats } from "../../src/rpc/connection.ts";
import { digestOf } from "../worker/gateway-parts.ts";
import { memoryStreamPair } from "./memory-byte-stream.ts";

export const ANONYMOUS: Credential = { kind: "none" };

/** One attempt as the worker has it. */
export class HandRun implements RunTarget {
  readonly spec: RunSpec;
  output: OutputClient;
  /** Where its files can be read, if it has some; whoever wants no more disposes it. */
  readonly files: FilesClient | undefined;
  /** Where its module can be read, if the worker keeps that; whoever wants no more disposes it. */
  readonly module: ModuleClient | undefined;
  readonly #end = Promise.withResolvers<AttemptEnd>();
  readonly #acknowledged = Promise.withResolvers<void>();
  readonly #cancelled = Promise.withResolvers<void>();
  outcomesAsked = 0;
  /** How its worker answers when it is told to end it: it may throw, or never resolve. */
  answerCancel: () => void | Promise<void> = () => {};
  isCancelled = false;
  isAcknowledged = false;

  constructor(spec: RunSpec, output: OutputClient, files?: FilesClient, module?: ModuleClient) {
    this.spec = spec;
    this.module = module;
    this.files = files;
    this.output = output;
    this.#end.promise.catch(() => {});
  }

  get id(): AttemptId {
    return this.spec.id;
  }

  /** Resolves when the gateway has cancelled it. */
  get cancelled(): Promise<void> {
    return this.#cancelled.promise;
  }

  get acknowledged(): Promise<void> {
    return this.#acknowledged.promise;
  }

  outcome(): Promise<AttemptEnd> {
    this.outcomesAsked++;
    return this.#end.promise;
  }

  cancel(): void | Promise<void> {
    this.isCancelled = true;
    this.#cancelled.resolve();
    return this.answerCancel();
  }

  acknowledge(): void {
    this.isAcknowledged = true;
    this.#acknowledged.resolve();
  }

  end(outcome: Outcome = { kind: "exited", code: 0 }): void {
    this.#end.resolve({
      outcome,
      usage: { wallMs: 1, cpuMs: 1, memoryBytes: 65_536 },
      outputBytes: 0,
      outputTruncated: false,
    });
  }

  fail(error: ClusterError): void {
    this.#end.reject(error);
  }

  /** Hands a file over, as a worker does; its bytes, or others than it announces. */
  async keep(path: string, bytes: Uint8Array, sent = bytes): Promise<void> {
    using content = await this.output.keep({ path, digest: digestOf(bytes), bytes: bytes.length });
    if (content === undefined) return;
    if (sent.length > 0) await content.write(sent);
    await content.finish();
  }

  async write(text: string, offset = 0): Promise<number> {
    return this.output.write(offset, "stdout", Buffer.from(text));
  }
}

export interface HandWorkerInit {
  readonly gateway: Gateway;
  readonly peer: PeerId;
  readonly state?: Partial<WorkerState> | undefined;
}

export class HandWorker implements AsyncDisposable {
  readonly peer: PeerId;
  readonly state: WorkerState;
  readonly bootstrap: BootstrapClient;
  /** What came to it and `nextRun` has not given. */
  readonly runs: HandRun[] = [];
  /** Offers whose capability came back unused. */
  returned = 0;
  /** Its runs keep where their modules can be read. */
  keepsModules = false;
  /** Refuses every run with this. */
  refusal: ClusterError | undefined;
  readonly #connection: Connection;
  readonly #gatewayEnd: Connection;
  readonly #strangerAborted = Promise.withResolvers<ClusterError>();
  #session: WorkerSessionClient | undefined;
  #sender: OfferSenderClient | undefined;
  #arrived = Promise.withResolvers<void>();

  /** Connects at once. */
  constructor({ gateway, peer, state }: HandWorkerInit) {
    this.peer = peer;
    this.state = {
      slots: 8,
      busy: 0,
      weight: 1,
      labels: { peer },
      version: "0.0.0-test",
      cachedModules: [],
      ...state,
    };
    const streams = memoryStreamPair();
    const ended = new AbortController();
    using bootstrap = gateway.admission.bootstrap({
      peer: { id: peer, address: "memory" },
      ended: ended.signal,
      abort: (reason) => {
        this.#strangerAborted.resolve(reason);
        this.#gatewayEnd.abort(reason);
      },
    });
    this.#gatewayEnd = new Connection({ stream: streams.a, bootstrap, clock: systemClock, log: silentLog });
    this.#gatewayEnd.ended.addEventListener("abort", () => ended.abort(this.#gatewayEnd.ended.reason), { once: true });
    this.#connection = new Connection({ stream: streams.b, clock: systemClock, log: silentLog });
    this.bootstrap = new BootstrapClient(this.#connection.bootstrap());
  }

  get session(): WorkerSessionClient {
    if (this.#session === undefined) throw new Error("the worker has no session");
    return this.#session;
  }

  /** Resolves with why the gateway has ended the connection by itself. */
  get abortedByGateway(): Promise<ClusterError> {
    return this.#strangerAborted.promise;
  }

  get isConnected(): boolean {
    return !this.#connection.ended.aborted;
  }

  /** Sizes of the tables at the gateway's end. */
  stats(): ConnectionStats {
    return this.#gatewayEnd.stats();
  }

  async login(credential: Credential = ANONYMOUS): Promise<Verdict<WorkerSessionClient>> {
    const verdict = await this.bootstrap.login(credential, this.state);
    if (verdict.kind === "admitted") this.#session = verdict.session;
    return verdict;
  }

  /** Logs in, resumes with these runs, and is ready to offer. */
  async join(held: readonly HandRun[] = []): Promise<readonly ResumeVerdict<OutputClient>[]> {
    const verdict = await this.login();
    if (verdict.kind !== "admitted") throw new Error(`not admitted: ${verdict.reason}`);
    const verdicts = await this.resume(held);
    this.#sender = (await this.session.offers()).sender;
    return verdicts;
  }

  /** Resumes with these; those that are adopted get their new output. */
  async resume(held: readonly HandRun[], outputOffset = 0): Promise<readonly ResumeVerdict<OutputClient>[]> {
    const capabilities = held.map((run) => ({ id: run.id, run: serveRun(run), outputOffset }));
    const verdicts = await this.session.resume(capabilities);
    for (const { run } of capabilities) run[Symbol.dispose]();
    held.forEach((run, index) => {
      const verdict = verdicts[index];
      if (verdict?.kind === "adopt") run.output = verdict.output;
    });
    return verdicts;
  }

  /** Offers slots, and looks no further after them. */
  offer(count = 1): void {
    for (let each = 0; each < count; each++) this.send().catch(() => {});
  }

  /** Offers one slot. Resolves when it was taken. */
  send(): Promise<void> {
    const sent = this.#send();
    // A test that does not wait for it may end first.
    sent.catch(() => {});
    return sent;
  }

  /** Offers a slot and resolves with the run that came for it. */
  async take(): Promise<HandRun> {
    this.offer();
    return this.nextRun();
  }

  async nextRun(): Promise<HandRun> {
    for (;;) {
      const run = this.runs.shift();
      if (run !== undefined) return run;
      await this.#arrived.promise;
    }
  }

  renew(held: readonly HandRun[]): Promise<readonly AttemptId[]> {
    return this.session.renew(
      held.map(({ id }) => id),
      this.state,
    );
  }

  /** The connection is lost, without a word. */
  drop(): void {
    this.#connection.abort(disconnected("the cable is cut"));
    this.#gatewayEnd.abort(disconnected("the cable is cut"));
  }

  /** The gateway has given the connection up, since nothing came for too long; the worker has not heard of it. */
  fallSilent(): void {
    this.#gatewayEnd.abort(disconnected("a ping was not answered", { code: PEER_SILENT }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
    await this.#gatewayEnd.close();
  }

  async #send(): Promise<void> {
    if (this.#sender === undefined) throw new Error("the worker has not joined");
    let isUsed = false;
    using worker = serveWorker({
      run: (spec: RunSpec, sources: RunSources, output: OutputClient): RunTarget => {
        isUsed = true;
        if (this.keepsModules) return this.#begin(spec, output, sources.files, sources.module);
        sources.module?.[Symbol.dispose]();
        return this.#begin(spec, output, sources.files);
      },
      [Symbol.dispose]: () => {
        if (!isUsed) this.returned++;
      },
    });
    await this.#sender.send(worker, this.state);
  }

  #begin(spec: RunSpec, output: OutputClient, files: FilesClient | undefined, module?: ModuleClient): HandRun {
    if (this.refusal !== undefined) {
      output[Symbol.dispose]();
      files?.[Symbol.dispose]();
      throw this.refusal;
    }
    const run = new HandRun(spec, output, files, module);
    this.runs.push(run);
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers<void>();
    return run;
  }
}
