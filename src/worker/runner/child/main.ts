/**
 * Entry of a runner process: takes orders from its pool, runs one guest after another, and ends when the pool does.
 *
 * It is a composition root of its own: the only place below `app/` that asks the system for time and randomness, to
 * hand them to guests. It runs under Node's permission model and without an environment; what that leaves open is
 * dropped by `dropPowers` before the first guest's code is loaded.
 */
import { randomFillSync } from "node:crypto";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { COLLECT_ABOVE_BYTES } from "../../../base/limits.ts";
import { encodeCollectReport, encodeRunReport, READY_FRAME_BYTES, REPLY, REQUEST } from "../wire.ts";
import type { CollectOrder, RunOrder, RunReport } from "../wire.ts";
import { parseCallable } from "./callable.ts";
import { ComponentGuest } from "./component-guest.ts";
import { ControlReader, ControlWriter } from "../../../sandbox/child/control-pipe.ts";
import { compileCore, runCore } from "./core-guest.ts";
import type { CompiledCore, RunResult } from "./core-guest.ts";
import { dropPowers } from "./drop-powers.ts";
import type { FileTree } from "./files/file-tree.ts";
import type { GuestPowers } from "./files/powers.ts";
import { GuestExit } from "./guest-exit.ts";
import { GuestFiles } from "./guest-files.ts";
import { GuestOutput } from "./guest-output.ts";
import { compileReason } from "./trap-reason.ts";
import { WallClock } from "./wall-clock.ts";

const ORDERS_FD = 3;
const REPLIES_FD = 4;
/** Longest single sleep: Atomics.wait takes any, but Infinity says nothing about being bounded. */
const SLEEP_MS_MAX = 2 ** 31;
const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder();

/** What the pool has sent of a module. It is compiled when it is first run, so that a refusal is that run's outcome. */
interface LoadedModule {
  readonly cores: Map<number, Uint8Array<ArrayBuffer>>;
  glue: string | undefined;
  compiledCore: CompiledCore | undefined;
  component: ComponentGuest | undefined;
}

class Runner {
  readonly #reader = new ControlReader(ORDERS_FD);
  readonly #writer = new ControlWriter(REPLIES_FD);
  readonly #exit = new GuestExit();
  readonly #output = new GuestOutput(this.#writer, this.#exit, () => performance.now());
  readonly #modules = new Map<number, LoadedModule>();
  readonly #powers: GuestPowers;
  readonly #cpuMicros: () => number;
  readonly #outerPid = Number(process.argv[2]);
  readonly #files = new GuestFiles();
  #stdin = NO_BYTES;
  /** CPU time that reports have told of. */
  #cpuToldMicros = 0;

  constructor() {
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    const cpuUsage = process.cpuUsage.bind(process);
    this.#cpuMicros = () => {
      const { user, system } = cpuUsage();
      return user + system;
    };
    const monotonicNs = (): bigint => BigInt(Math.round(performance.now() * 1e6));
    const wallClock = new WallClock(() => Date.now(), monotonicNs);
    this.#powers = {
      realtimeNs: () => {
        this.#output.flush();
        return wallClock.nowNs();
      },
      monotonicNs: () => {
        this.#output.flush();
        return monotonicNs();
      },
      cpuNs: () => BigInt(this.#cpuMicros()) * 1000n,
      fillRandom: (bytes) => void randomFillSync(bytes),
      sleep: (durationMs) => {
        this.#output.flush();
        Atomics.wait(sleeper, 0, 0, Math.min(durationMs, SLEEP_MS_MAX));
      },
      writeOutput: (stream, bytes) => this.#output.write(stream, bytes),
    };
  }

  /** Serves until the pool closes the pipe. */
  async serve(): Promise<void> {
    const ready = new Uint8Array(READY_FRAME_BYTES);
    this.#cpuToldMicros = this.#cpuMicros();
    const view = new DataView(ready.buffer);
    view.setFloat64(0, this.#cpuToldMicros / 1000, true);
    view.setUint32(8, this.#outerPid, true);
    this.#writer.send(REPLY.ready, ready);
    for (;;) {
      const frame = this.#reader.next();
      if (frame === undefined) return;
      const { kind, payload, isOwn } = frame;
      if (kind === REQUEST.run) {
        await this.#serveRun(parseRunOrder(payload));
        continue;
      }
      const view = new DataView(payload.buffer, payload.byteOffset);
      if (kind === REQUEST.core) {
        const bytes = isOwn ? payload.subarray(8) : payload.slice(8);
        this.#module(view.getUint32(0, true)).cores.set(view.getUint32(4, true), bytes);
      } else if (kind === REQUEST.glue) {
        this.#module(view.getUint32(0, true)).glue = decoder.decode(payload.subarray(4));
      } else if (kind === REQUEST.forget) {
        this.#modules.delete(view.getUint32(0, true));
      } else if (kind === REQUEST.stdin) {
        this.#stdin = isOwn ? payload : payload.slice();
      } else if (kind === REQUEST.file) {
        this.#files.give(isOwn ? payload : payload.slice());
      } else if (kind === REQUEST.tidy) {
        collectGarbage?.();
        this.#writer.send(REPLY.tidied, NO_BYTES);
      } else if (kind === REQUEST.collect) {
        this.#serveCollect(parseCollectOrder(payload));
      }
    }
  }

  async #serveRun(order: RunOrder): Promise<void> {
    this.#output.reset(order.outputBytesMax, order.outputLimit);
    this.#exit.reset();
    const result = await this.#run(order);
    this.#output.flush();
    if (!order.keepsFiles || result.end.kind !== "exited") this.#files.release();
    const report: RunReport = {
      end: result.end,
      value: result.value,
      cpuMs: this.#cpuMsToTell(),
      memoryBytes: result.memoryBytes,
    };
    this.#stdin = NO_BYTES;
    this.#writer.sendText(REPLY.end, encodeRunReport(report));
    // Left to itself the engine may keep it for as long as nothing runs.
    if (result.memoryBytes >= COLLECT_ABOVE_BYTES) collectGarbage?.();
  }

  #serveCollect(order: CollectOrder): void {
    const exceeded = this.#files.collect(order, this.#writer);
    this.#writer.send(REPLY.filesEnd, encodeCollectReport({ cpuMs: this.#cpuMsToTell(), exceeded }));
  }

  #cpuMsToTell(): number {
    const toldMicros = this.#cpuToldMicros;
    this.#cpuToldMicros = this.#cpuMicros();
    return (this.#cpuToldMicros - toldMicros) / 1000;
  }

  async #run(order: RunOrder): Promise<RunResult> {
    const { args, env, entry } = order;
    const module = this.#module(order.key);
    let tree: FileTree;
    try {
      tree = this.#files.open(() => this.#powers.realtimeNs());
    } catch {
      return { end: { kind: "rejected", reason: "its files do not fit into a guest's directory" }, memoryBytes: 0 };
    }
    try {
      if (entry.kind === "component") {
        module.component ??= await ComponentGuest.load(module.glue ?? "", entry.coreNames, module.cores);
        return module.component.run({ args, env, stdin: this.#stdin, tree }, this.#powers, this.#exit);
      }
      module.compiledCore ??= compileCore(module.cores.get(0) ?? NO_BYTES);
    } catch (thrown) {
      return { end: { kind: "rejected", reason: compileReason(thrown) }, memoryBytes: 0 };
    } finally {
      module.cores.clear();
    }
    return runCore({ core: module.compiledCore, entry, args, env, stdin: this.#stdin, tree }, this.#powers, this.#exit);
  }

  #module(key: number): LoadedModule {
    let module = this.#modules.get(key);
    if (module === undefined) {
      module = { cores: new Map(), glue: undefined, compiledCore: undefined, component: undefined };
      this.#modules.set(key, module);
    }
    return module;
  }
}

/** The engine's collector, from a realm that is dropped at once: in the guests' it would be a global that cannot go. */
function takeCollector(): (() => void) | undefined {
  setFlagsFromString("--expose-gc");
  const collector = parseCallable(runInNewContext("gc"));
  setFlagsFromString("--no-expose-gc");
  return collector === undefined ? undefined : () => void collector();
}

/** The pool is trusted: what it sends is what `encodeRunOrder` made. */
function parseRunOrder(payload: Uint8Array): RunOrder {
  return JSON.parse(decoder.decode(payload)) as RunOrder;
}

function parseCollectOrder(payload: Uint8Array): CollectOrder {
  return JSON.parse(decoder.decode(payload)) as CollectOrder;
}

const exitProcess = process.exit.bind(process);
const collectGarbage = takeCollector();
const runner = new Runner();
dropPowers();
await runner.serve();
exitProcess(0);
