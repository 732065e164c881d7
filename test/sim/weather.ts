/** When something was wrong, in a history: what the cluster promises of the times in between is more. */
import type { History } from "./history.ts";

/** What was wrong may show for so long: connections are made anew, leases run out. */
const AFTERMATH_MS = 25_000;

export class Weather {
  readonly #faults: readonly { readonly fromMs: number; readonly toMs: number }[];

  /** `matters`: the faults that count. Default: all. */
  constructor({ events }: History, matters: (what: string) => boolean = () => true) {
    const faults: { what: string; fromMs: number; toMs: number }[] = [];
    for (const event of events) {
      if (event.kind === "fault" && matters(event.what))
        faults.push({ what: event.what, fromMs: event.atMs, toMs: Infinity });
      if (event.kind !== "mended") continue;
      const fault = faults.find((each) => each.what === event.what && each.toMs === Infinity);
      if (fault !== undefined) fault.toMs = event.atMs + AFTERMATH_MS;
    }
    this.#faults = faults;
  }

  /** Since when nothing has been wrong; undefined: something is, or was lately. */
  fairSince(atMs: number): number | undefined {
    const before = this.#faults.filter((fault) => fault.fromMs <= atMs).map((fault) => fault.toMs);
    const sinceMs = Math.max(0, ...before);
    return sinceMs <= atMs ? sinceMs : undefined;
  }

  /** Nothing was wrong, from the one time to the other, nor for a while before. */
  wasFair(fromMs: number, toMs: number): boolean {
    return this.#faults.every((fault) => fault.toMs < fromMs || fault.fromMs > toMs);
  }
}
