/**
 * Watches one guest from outside: its wall time, its CPU time, its process's memory, and whether anybody still wants it.
 * When it is to stop, its process is killed at once, and why is remembered; the first reason stands. Disposing ends the
 * watch.
 *
 * A linear memory is capped by its own maximum, which the engine holds. What is held from here is what no maximum can:
 * several memories together, and whatever else grows in the process.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import {
  CPU_CHECK_EVERY_MS_MIN,
  MEMORY_CHECK_EVERY_MS,
  RUNNER_OVERHEAD_BYTES_MAX,
  SEVERAL_MEMORIES_SLACK_BYTES,
} from "../../base/limits.ts";
import { mib } from "../../base/wording.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { GuestSpec } from "../guest.ts";
import { readCpuMs, readCpuMsNow } from "./cpu-time.ts";
import { type MemoryUse, readMemoryUse } from "./memory-use.ts";
import type { RunnerProcess } from "./runner-process.ts";

export interface GuestWatchInit {
  readonly runner: Pick<RunnerProcess, "cpuMs" | "guestPid" | "idleUse" | "kill">;
  readonly spec: Pick<GuestSpec, "timeoutMs" | "cpuMs">;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Undefined: its memory is not looked at. */
  readonly memory?: WatchedMemory | undefined;
}

export interface WatchedMemory {
  /** What its linear memories may have together. */
  readonly capBytes: number;
  /** It has more than one, each of which may grow to the cap. */
  readonly isSeveral: boolean;
}

export class GuestWatch implements Disposable {
  readonly #init: GuestWatchInit;
  readonly #cpuBeforeMs: number;
  readonly #wallTimer: Disposable;
  readonly #onAbort = (): void => this.stop(cancelledBy(this.#init.signal));
  #cpuTimer: Disposable | undefined;
  #memoryTimer: Disposable | undefined;
  /** Of the process, before the guest. */
  readonly #idleUse: MemoryUse | undefined;
  #stopped: Outcome | undefined;
  #cpuMs = 0;
  #memoryBytes = 0;
  #isDisposed = false;

  constructor(init: GuestWatchInit) {
    const { runner, spec, signal, clock, memory } = init;
    this.#init = init;
    this.#cpuBeforeMs = runner.cpuMs;
    this.#wallTimer = clock.setTimer(spec.timeoutMs, () =>
      this.stop({ kind: "timed-out", reason: `it took more than ${seconds(spec.timeoutMs)} of wall time` }),
    );
    // One thread cannot use more CPU time than passes on the wall; only a smaller limit needs looking after.
    if (spec.cpuMs < spec.timeoutMs) this.#watchCpu(spec.cpuMs);
    if (memory !== undefined) {
      this.#idleUse = runner.idleUse(clock.monotonicMs());
      this.#watchMemory(memory);
    }
    signal.addEventListener("abort", this.#onAbort);
    if (signal.aborted) this.#onAbort();
  }

  /** The outcome by which the guest was stopped; undefined if it was not. */
  get stopped(): Outcome | undefined {
    return this.#stopped;
  }

  /** CPU time that the guest had used when it was last looked at; of a stopped guest, about all of it. */
  get cpuMs(): number {
    return this.#cpuMs;
  }

  /** The most that its process was seen to have beyond what it had before the guest; 0 if it was never looked at. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#memoryTimer?.[Symbol.dispose]();
    this.#wallTimer[Symbol.dispose]();
    this.#cpuTimer?.[Symbol.dispose]();
    this.#init.signal.removeEventListener("abort", this.#onAbort);
  }

  /** Kills the guest, unless it was stopped before. */
  stop(outcome: Outcome): void {
    if (this.#stopped !== undefined || this.#isDisposed) return;
    const { runner } = this.#init;
    this.#stopped = outcome;
    if (runner.guestPid !== undefined) {
      this.#see(readCpuMsNow(runner.guestPid));
      if (this.#init.memory !== undefined) this.#seeMemory(runner.guestPid);
    }
    runner.kill();
  }

  #watchCpu(afterMs: number): void {
    this.#cpuTimer = this.#init.clock.setTimer(Math.max(afterMs, CPU_CHECK_EVERY_MS_MIN), () => void this.#checkCpu());
  }

  async #checkCpu(): Promise<void> {
    const { runner, spec } = this.#init;
    if (runner.guestPid !== undefined) this.#see(await readCpuMs(runner.guestPid));
    if (this.#isDisposed || this.#stopped !== undefined) return;
    if (this.#cpuMs >= spec.cpuMs) {
      this.stop({ kind: "timed-out", reason: `it took more than ${seconds(spec.cpuMs)} of CPU time` });
    } else {
      this.#watchCpu(spec.cpuMs - this.#cpuMs);
    }
  }

  #watchMemory(memory: WatchedMemory): void {
    this.#memoryTimer = this.#init.clock.setTimer(MEMORY_CHECK_EVERY_MS, () => this.#checkMemory(memory));
  }

  #checkMemory(memory: WatchedMemory): void {
    const { guestPid } = this.#init.runner;
    if (guestPid === undefined) return;
    this.#see(readCpuMsNow(guestPid));
    const takenBytes = this.#seeMemory(guestPid);
    if (takenBytes === undefined) return;
    const { capBytes, isSeveral } = memory;
    if (isSeveral && this.#memoryBytes > capBytes + SEVERAL_MEMORIES_SLACK_BYTES) {
      const reason = `its memories together passed their ${mib(capBytes)} MiB`;
      this.stop({ kind: "memory-exceeded", reason });
    } else if (takenBytes > capBytes + RUNNER_OVERHEAD_BYTES_MAX) {
      const reason = `its process took ${mib(takenBytes)} MiB, for a guest that may have ${mib(capBytes)}`;
      this.stop({ kind: "memory-exceeded", reason });
    } else {
      this.#watchMemory(memory);
    }
  }

  /** Answers what of the process's memory in the machine was not there before the guest; undefined where that is not known. */
  #seeMemory(pid: number): number | undefined {
    const use = readMemoryUse(pid);
    const idle = this.#idleUse;
    if (use === undefined || idle === undefined) return undefined;
    this.#memoryBytes = Math.max(this.#memoryBytes, use.dataBytes - idle.dataBytes);
    return use.residentBytes - idle.residentBytes;
  }

  #see(totalMs: number | undefined): void {
    if (totalMs !== undefined) this.#cpuMs = Math.max(this.#cpuMs, totalMs - this.#cpuBeforeMs);
  }
}

export function cancelledBy(signal: AbortSignal): Outcome {
  const reason: unknown = signal.reason;
  const isPlain = reason instanceof DOMException && reason.name === "AbortError";
  return { kind: "cancelled", reason: isPlain ? "cancelled" : messageOf(reason) };
}

function seconds(ms: number): string {
  return `${Math.round(ms) / 1000} s`;
}
