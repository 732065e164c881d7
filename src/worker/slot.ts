/**
 * One free slot on offer: the target of the `Worker` capability that is sent into the channel.
 *
 *     offered ──run──▶ used
 *        └──dropped unused (refused, withdrawn, disconnected)──▶ returned
 */
import { overloaded } from "../base/errors.ts";
import type { OutputClient } from "../caps/output.ts";
import type { RunTarget } from "../caps/run.ts";
import type { RunSources, WorkerTarget } from "../caps/worker.ts";
import type { RunSpec } from "../model/run-spec.ts";

export interface SlotInit {
  /** Starts the attempt; takes `sources` and `output` over. */
  readonly begin: (spec: RunSpec, sources: RunSources, output: OutputClient) => RunTarget;
  /** The slot is free again, without having been used. */
  readonly onReturned: () => void;
}

export class Slot implements WorkerTarget {
  readonly #init: SlotInit;
  #state: "offered" | "used" | "returned" = "offered";

  constructor(init: SlotInit) {
    this.#init = init;
  }

  run(spec: RunSpec, sources: RunSources, output: OutputClient): RunTarget {
    if (this.#state !== "offered") {
      sources[Symbol.dispose]();
      output[Symbol.dispose]();
      throw overloaded("this slot is used up; take another offer from the channel", { code: "slot-used" });
    }
    this.#state = "used";
    return this.#init.begin(spec, sources, output);
  }

  /** The last reference is gone. */
  [Symbol.dispose](): void {
    if (this.#state !== "offered") return;
    this.#state = "returned";
    this.#init.onReturned();
  }
}
