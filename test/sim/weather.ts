/** When something was wrong, in a history: what the cluster promises of the times in between is more. */
import type { PeerId } from "../../src/base/ids.ts";
import type { History } from "./history.ts";

/** What was wrong may show for so long: connections are made anew, leases run out. */
export const AFTERMATH_MS = 25_000;

interface Fault {
  readonly what: string;
  /** The worker that it befell; undefined: the gateway. */
  readonly worker: PeerId | undefined;
  readonly fromMs: number;
  toMs: number;
}

export class Weather {
  readonly #faults: readonly Fault[];

  /** `matters`: the faults that count. Default: all. */
  constructor({ events }: History, matters: (what: string) => boolean = () => true) {
    const faults: Fault[] = [];
    for (const event of events) {
      if (event.kind === "fault" && matters(event.what)) {
        faults.push({ what: event.what, worker: event.worker, fromMs: event.atMs, toMs: Infinity });
      }
      if (event.kind !== "mended") continue;
      const fault = faults.find((each) => each.what === event.what && each.toMs === Infinity);
      if (fault !== undefined) fault.toMs = event.atMs + AFTERMATH_MS;
    }
    this.#faults = faults;
  }

  /** Since when nothing has been wrong with the gateway; undefined: something is, or was lately. */
  fairAtGatewaySince(atMs: number): number | undefined {
    const before = this.#faults
      .filter(({ worker, fromMs }) => worker === undefined && fromMs <= atMs)
      .map((fault) => fault.toMs);
    const sinceMs = Math.max(0, ...before);
    return sinceMs <= atMs ? sinceMs : undefined;
  }

  /** Nothing was wrong anywhere, from the one time to the other, nor for a while before. */
  wasFair(fromMs: number, toMs: number): boolean {
    return this.#wasFair(fromMs, toMs, () => true);
  }

  /** Nothing was wrong with the gateway. What befalls a worker is no reason for it to do anything late. */
  wasFairAtGateway(fromMs: number, toMs: number): boolean {
    return this.#wasFair(fromMs, toMs, (fault) => fault.worker === undefined);
  }

  /** Nothing was wrong with the gateway and this worker: what befalls another is none of its business. */
  wasFairFor(worker: PeerId | undefined, fromMs: number, toMs: number): boolean {
    return this.#wasFair(fromMs, toMs, (fault) => fault.worker === undefined || fault.worker === worker);
  }

  #wasFair(fromMs: number, toMs: number, matters: (fault: Fault) => boolean): boolean {
    return this.#faults.every((fault) => fault.toMs < fromMs || fault.fromMs > toMs || !matters(fault));
  }
}
