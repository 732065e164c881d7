/**
 * Watches one guest from outside: its wall time, its CPU time, and whether anybody still wants it. When it is to stop,
 * its process is killed at once, and why is remembered; the first reason stands. Disposing ends the watch.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { CPU_CHECK_EVERY_MS_MIN } from "../../base/limits.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { GuestSpec } from "../guest.ts";
import { readCpuMs, readCpuMsNow } from "./cpu-time.ts";
import type { RunnerProcess } from "./runner-process.ts";

export interface GuestWatchInit {
  readonly runner: RunnerProcess;
  readonly spec: Pick<GuestSpec, "timeoutMs" | "cpuMs">;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

export class GuestWatch implements Disposable {
  readonly #init: GuestWatchInit;
  readonly #cpuBeforeMs: number;
  readonly #wallTimer: Disposable;
  readonly #onAbort = (): void => this.stop(cancelledBy(this.#init.signal));
  #cpuTimer: Disposable | undefined;
  #stopped: Outcome | undefined;
  #cpuMs = 0;
  #isDisposed = false;

  constructor(init: GuestWatchInit) {
    const { runner, spec, signal, clock } = init;
    this.#init = init;
    this.#cpuBeforeMs = runner.cpuMs;
    this.#wallTimer = clock.setTimer(spec.timeoutMs, () =>
      this.stop({ kind: "timed-out", reason: `it took more than ${seconds(spec.timeoutMs)} of wall time` }),
    );
    // One thread cannot use more CPU time than passes on the wall; only a smaller limit needs looking after.
    if (spec.cpuMs < spec.timeoutMs) this.#watchCpu(spec.cpuMs);
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

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#wallTimer[Symbol.dispose]();
    this.#cpuTimer?.[Symbol.dispose]();
    this.#init.signal.removeEventListener("abort", this.#onAbort);
  }

  /** Kills the guest, unless it was stopped before. */
  stop(outcome: Outcome): void {
    if (this.#stopped !== undefined || this.#isDisposed) return;
    const { runner } = this.#init;
    this.#stopped = outcome;
    if (runner.guestPid !== undefined) this.#see(readCpuMsNow(runner.guestPid));
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
