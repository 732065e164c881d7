/**
 * Runs WebAssembly guests in a pool of sandboxed child processes, one guest at a time in each.
 *
 * A run: its module is planned (`guest-plan.ts`: may it run, and how) — it waits for a slot — it takes a process from
 * the shelf — the process runs it, watched from here for its wall time, its CPU time and its caller's signal — the
 * process goes back, or is killed and replaced. Whatever a guest does ends in an outcome; only its own process suffers.
 *
 * Who decides: limits on memory and output are held inside the runner and checked again here; time is held here alone.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { followAborts, unlessAborted } from "../../base/abort.ts";
import type { Clock } from "../../base/clock.ts";
import { messageOf, overloaded } from "../../base/errors.ts";
import { COLLECT_MS_MAX, RUNS_PER_RUNNER_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import { SharedWork } from "../../base/shared-work.ts";
import { INSPECTOR_CELL } from "../../inspect/inspection-process.ts";
import { Inspector } from "../../inspect/inspector.ts";
import type { AttemptEnd, Outcome } from "../../model/outcome.ts";
import { OwnerWatch } from "../../sandbox/owner-watch.ts";
import { Sandbox } from "../../sandbox/sandbox.ts";
import type { Executor, GuestIo, GuestSpec, WasmGuestSpec } from "../guest.ts";
import { ComponentTranspiler } from "./component-transpiler.ts";
import { Deadlines } from "./deadlines.ts";
import type { CollectVerdict } from "./file-collection.ts";
import { endOfFailed, endWithoutRun, judgeCollection, judgeEnd } from "./guest-outcome.ts";
import { admitGuest, loadParts } from "./guest-plan.ts";
import type { GoodPlan, GuestAdmission } from "./guest-plan.ts";
import { cancelledBy, GuestWatch } from "./guest-watch.ts";
import { ModulePlans } from "./module-plans.ts";
import { RUNNER_CELL } from "./runner-cell.ts";
import type { ModuleParts, RunnerProcess } from "./runner-process.ts";
import { RunnerShelf } from "./runner-shelf.ts";
import type { RunnerWish } from "./runner-shelf.ts";
import { SlotQueue } from "./slot-queue.ts";
import { TierMemory } from "./tier-memory.ts";
import { VerdictCache } from "./verdict-cache.ts";

export interface RunnerPoolInit {
  /** Guests at once. */
  readonly slots: number;
  /** Warm processes beyond one per slot; default 1. */
  readonly spares?: number | undefined;
  /** Those for large modules that nobody has used, besides; default 1. */
  readonly baselineSpares?: number | undefined;
  /** Guests that one process runs before it is replaced; default `RUNS_PER_RUNNER_MAX`. */
  readonly runsPerRunner?: number | undefined;
  /** This program's alone; its pools may share it. Caches only. Made if missing. */
  readonly scratchFolder: string;
  /** Where runners are kept; default: one of its own in the scratch folder. */
  readonly sandbox?: Sandbox | undefined;
  /** Who reads modules; stays the caller's. Default: one of the pool's own. */
  readonly inspector?: Pick<Inspector, "inspectBytes" | "version"> | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RunnerPoolStats {
  readonly slots: number;
  readonly busy: number;
  /** Calls of `run` that wait for a slot. */
  readonly waiting: number;
  /** Guests that have ended, by whatever outcome. */
  readonly finished: number;
  /** Runner processes that were started, ever. */
  readonly started: number;
  readonly runners: readonly {
    /** The process to kill, and the one that runs guests, whose use of the machine counts; often the same. */
    readonly pid: number | undefined;
    readonly guestPid: number | undefined;
    readonly state: string;
    readonly tier: string;
    readonly runs: number;
  }[];
}

interface PoolParts {
  readonly shelf: RunnerShelf;
  readonly watch: OwnerWatch;
  readonly transpiler: ComponentTranspiler;
  readonly tiers: TierMemory;
  readonly verdicts: VerdictCache;
  /** Its own, if it was given none. */
  readonly ownInspector: Inspector | undefined;
}

export class RunnerPool implements Executor {
  readonly #init: RunnerPoolInit;
  readonly #shelf: RunnerShelf;
  readonly #watch: OwnerWatch;
  readonly #transpiler: ComponentTranspiler;
  readonly #slots: SlotQueue;
  readonly #plans: ModulePlans;
  readonly #tiers: TierMemory;
  readonly #ownInspector: Inspector | undefined;
  readonly #deadlines: Deadlines;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #finished = 0;
  #closed: Promise<void> | undefined;

  private constructor(init: RunnerPoolInit, { shelf, watch, transpiler, tiers, verdicts, ownInspector }: PoolParts) {
    this.#init = init;
    this.#shelf = shelf;
    this.#watch = watch;
    this.#tiers = tiers;
    this.#plans = new ModulePlans({ transpiler, verdicts, log: init.log });
    this.#ownInspector = ownInspector;
    this.#slots = new SlotQueue(init.slots);
    this.#deadlines = new Deadlines(init.clock);
    this.#transpiler = transpiler;
  }

  /** Starts the processes. Rejects, and leaves none, when they do not come up. */
  static async open(init: RunnerPoolInit): Promise<RunnerPool> {
    const { clock, log, slots, scratchFolder } = init;
    const sandbox = init.sandbox ?? (await Sandbox.open({ scratchFolder, log }));
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots });
    const cell = await sandbox.openCell(RUNNER_CELL);
    await sandbox.removeOldCells([RUNNER_CELL, INSPECTOR_CELL, transpiler.cell]).catch((error: unknown) => {
      log.warn("the code of older versions could not be removed", { error });
    });
    const watch = new OwnerWatch({ clock, log });
    const { spares = 1, baselineSpares = 1 } = init;
    const warm = slots + spares;
    const shelf = new RunnerShelf({
      cell,
      warm,
      spares,
      baselineSpares,
      max: warm + slots + baselineSpares,
      runsPerRunner: init.runsPerRunner ?? RUNS_PER_RUNNER_MAX,
      watch,
      clock,
      log,
    });
    const tiers = await TierMemory.open({ path: join(scratchFolder, "tiers.json"), log });
    let { inspector } = init;
    let ownInspector: Inspector | undefined;
    if (inspector === undefined) {
      ownInspector = new Inspector({ openSandbox: async () => sandbox, clock, log });
      inspector = ownInspector;
    }
    const verdicts = new VerdictCache({ inspector, folder: join(scratchFolder, "verdicts") });
    const pool = new RunnerPool(init, { shelf, watch, transpiler, tiers, verdicts, ownInspector });
    try {
      await shelf.open();
    } catch (error) {
      await pool.close();
      throw error;
    }
    return pool;
  }

  stats(): RunnerPoolStats {
    const runners = this.#shelf
      .runners()
      .map(({ pid, guestPid, state, tier, runs }) => ({ pid, guestPid, state, tier, runs }));
    return {
      slots: this.#init.slots,
      busy: this.#slots.busy,
      waiting: this.#slots.waiting,
      finished: this.#finished,
      started: this.#shelf.started,
      runners,
    };
  }

  async run(guest: GuestSpec, io: GuestIo, { signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    const spec = wasmSpec(guest);
    if (spec === undefined) return endWithoutRun({ kind: "rejected", reason: "it is no module of WebAssembly" });
    // Of one whose pool closes nobody wants to hear any more either.
    using wanted = followAborts([signal, this.#closing.signal]);
    const running = this.#run(spec, io, wanted.signal);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
      this.#finished++;
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#closing.abort(overloaded("the pool of runners was closed", { code: "closed" }));
    this.#transpiler.close();
    this.#slots.close();
    // What is being planned writes into the scratch folder.
    await Promise.all([Promise.allSettled([...this.#running, this.#plans.settled()]), this.#ownInspector?.close()]);
    this.#deadlines[Symbol.dispose]();
    await this.#shelf.close();
    await this.#watch.close();
    await this.#tiers[Symbol.asyncDispose]();
  }

  async #run(spec: WasmGuestSpec, io: GuestIo, signal: AbortSignal): Promise<AttemptEnd> {
    if (signal.aborted) return endWithoutRun(cancelledBy(signal));
    let known = this.#plans.find(spec.digest);
    if (known === undefined) {
      void this.#prepareRunner(spec);
      known = this.#plans.make(spec);
    }
    try {
      const plan = known instanceof SharedWork ? await known.join(signal) : known;
      if (!plan.ok) return endWithoutRun({ kind: "rejected", reason: plan.reason });
      const admission = admitGuest(plan, spec);
      if ("kind" in admission) return endWithoutRun(admission);
      return await this.#runInSlot(spec, plan, admission, io, signal);
    } catch (error) {
      if (signal.aborted) return endWithoutRun(cancelledBy(signal));
      return endOfFailed(error);
    } finally {
      this.#plans.dropBytes(known);
    }
  }

  async #runInSlot(
    spec: WasmGuestSpec,
    plan: GoodPlan,
    admission: GuestAdmission,
    io: GuestIo,
    signal: AbortSignal,
  ): Promise<AttemptEnd> {
    const isGranted = this.#slots.tryAcquire() || (await this.#slots.acquire(signal));
    try {
      if (signal.aborted) return endWithoutRun(cancelledBy(signal));
      return await this.#attempt(spec, plan, admission, io, signal);
    } finally {
      if (isGranted) this.#slots.release();
    }
  }

  /** What is large wants a runner of the kind of which few are kept warm: one starts while the module is read. */
  async #prepareRunner({ modulePath, digest, submitter }: WasmGuestSpec): Promise<void> {
    const fileBytes = await stat(modulePath).then(
      ({ size }) => size,
      () => 0,
    );
    const tier = this.#tiers.tierFor(digest, fileBytes);
    if (tier === "baseline") this.#shelf.prepare({ submitter, tier, moduleKey: "", component: undefined });
  }

  async #attempt(
    spec: WasmGuestSpec,
    plan: GoodPlan,
    admission: GuestAdmission,
    io: GuestIo,
    signal: AbortSignal,
  ): Promise<AttemptEnd> {
    const { digest } = plan;
    const { codeBytes, kind } = plan.inspection;
    const component = kind === "component" ? digest : undefined;
    const tier = this.#tiers.tierFor(digest, codeBytes);
    const wish = { submitter: spec.submitter, tier, moduleKey: admission.moduleKey, component };
    const runner = await this.#takeRunner(wish, signal);
    // Whatever it did, no guest after one that did not simply exit is to find it.
    let isSpent = true;
    try {
      if (signal.aborted) {
        isSpent = false;
        return endWithoutRun(cancelledBy(signal));
      }
      const wasCompiled = runner.holds(admission.moduleKey);
      const { end, stopped } = await this.#runOn(runner, spec, plan, admission, io, signal);
      this.#tiers.remember(digest, codeBytes, { tier, cpuMs: end.usage.cpuMs, wasCompiled });
      isSpent = end.outcome.kind !== "exited";
      if (!keepsFiles(spec, io)) return end;
      if (runner.state === "idle") return await this.#collect(runner, spec.outputs, io.keep, end, signal);
      // With the process went what the guest has left.
      return isSpent ? end : judgeCollection(end, { kind: "died", reason: "it ended before they were read" }, stopped);
    } finally {
      this.#shelf.giveBack(runner, { isSpent });
    }
  }

  /** Rejects as `overloaded` where there is none to be had, and with the signal's reason. */
  async #takeRunner(wish: RunnerWish, signal: AbortSignal): Promise<RunnerProcess> {
    let starting: Promise<RunnerProcess> | undefined;
    try {
      const taken = this.#shelf.take(wish);
      if (!(taken instanceof Promise)) return taken;
      starting = taken;
      return await unlessAborted(starting, signal);
    } catch (error) {
      if (signal.aborted) {
        // Once it is ready it is there for others.
        starting?.then((runner) => this.#shelf.giveBack(runner)).catch(() => {});
        throw error;
      }
      // This machine's doing: no guest was there to do it.
      throw overloaded(`no runner could be started: ${messageOf(error)}`, { code: "no-runner", cause: error });
    }
  }

  /** Passes on what the guest has left to keep, in a time of its own: the guest's was its own too. */
  async #collect(
    runner: RunnerProcess,
    outputs: readonly string[],
    keep: NonNullable<GuestIo["keep"]>,
    end: AttemptEnd,
    signal: AbortSignal,
  ): Promise<AttemptEnd> {
    const spec = { timeoutMs: COLLECT_MS_MAX, cpuMs: COLLECT_MS_MAX };
    using watch = new GuestWatch({ runner, spec, signal, clock: this.#deadlines });
    // Of a guest that has ended otherwise nothing is wanted, and its runner lets go of what it holds.
    const wanted = end.outcome.kind === "exited" ? outputs : [];
    let verdict: CollectVerdict;
    try {
      verdict = await runner.collect({ outputs: wanted, keep });
    } catch (error) {
      if (watch.stopped === undefined) throw error;
      // Whoever was reading one found it cut short.
      verdict = { kind: "died", reason: messageOf(error) };
    }
    return judgeCollection(end, verdict, watch.stopped);
  }

  async #runOn(
    runner: RunnerProcess,
    spec: WasmGuestSpec,
    plan: GoodPlan,
    admission: GuestAdmission,
    io: GuestIo,
    signal: AbortSignal,
  ): Promise<{ readonly end: AttemptEnd; readonly stopped: Outcome | undefined }> {
    const startedMs = this.#deadlines.monotonicMs();
    const isSeveral = admission.pagesMax.filter((pages) => pages > 0).length > 1;
    const memory = { capBytes: spec.memoryBytes, isSeveral };
    using watch = new GuestWatch({ runner, spec, signal, clock: this.#deadlines, memory });
    const verdict = await runner.run({
      moduleKey: admission.moduleKey,
      loadParts: () => this.#load(runner, spec, plan, admission, signal),
      order: {
        entry: admission.entry,
        args: spec.args,
        env: spec.env,
        outputBytesMax: spec.outputBytesMax,
        outputLimit: spec.outputLimit,
        keepsFiles: keepsFiles(spec, io),
      },
      stdin: spec.stdin,
      files: spec.files,
      io,
    });
    const { stopped } = watch;
    const end = judgeEnd({
      verdict,
      stopped,
      memoryCapBytes: spec.memoryBytes,
      initialBytes: admission.initialBytes,
      seenBytes: watch.memoryBytes,
      wallMs: this.#deadlines.monotonicMs() - startedMs,
      cpuMs: watch.cpuMs,
    });
    return { end, stopped };
  }

  /** What the runner is to load. Of a guest that was stopped nobody wants it any more. */
  async #load(
    runner: RunnerProcess,
    spec: WasmGuestSpec,
    plan: GoodPlan,
    admission: GuestAdmission,
    signal: AbortSignal,
  ): Promise<ModuleParts> {
    using wanted = followAborts([signal]);
    if (plan.inspection.kind === "component") {
      void runner.ended.then(() => wanted.abort(overloaded("the runner has ended", { code: "ended" })));
    }
    return await loadParts(plan, admission, spec, this.#transpiler, { signal: wanted.signal });
  }
}

function keepsFiles(spec: GuestSpec, io: GuestIo): io is Required<GuestIo> {
  return spec.outputs.length > 0 && io.keep !== undefined;
}

function wasmSpec(spec: GuestSpec): WasmGuestSpec | undefined {
  const { modulePath, digest, entry } = spec;
  if (modulePath === undefined || digest === undefined || entry.kind === "custom") return undefined;
  return { ...spec, modulePath, digest, entry };
}
