/** What the pool knows of modules, by digest: each is planned once for all who want it at the same time. */
import type { Digest } from "../../base/ids.ts";
import { MODULE_PLANS_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import { SharedWork } from "../../base/shared-work.ts";
import type { WasmGuestSpec } from "../guest.ts";
import type { ComponentTranspiler } from "./component-transpiler.ts";
import { planGuest } from "./guest-plan.ts";
import type { GuestPlan } from "./guest-plan.ts";
import type { VerdictCache } from "./verdict-cache.ts";

export interface ModulePlansInit {
  readonly transpiler: ComponentTranspiler;
  readonly verdicts: Pick<VerdictCache, "verdictOn">;
  readonly log: Log;
}

/** A plan, or the making of one. */
export type FoundPlan = GuestPlan | SharedWork<GuestPlan>;

export class ModulePlans {
  readonly #init: ModulePlansInit;
  /** Oldest first. */
  readonly #plans = new Map<Digest, FoundPlan>();

  constructor(init: ModulePlansInit) {
    this.#init = init;
  }

  /** Undefined: nobody has planned it, or whoever did has given up. */
  find(digest: Digest): FoundPlan | undefined {
    const known = this.#plans.get(digest);
    return known instanceof SharedWork && known.isAbandoned ? undefined : known;
  }

  /** Begins to plan a module that was not found. */
  make(spec: WasmGuestSpec): SharedWork<GuestPlan> {
    const { digest } = spec;
    const { transpiler, verdicts, log } = this.#init;
    const oldest = this.#plans.keys().next().value;
    if (this.#plans.size >= MODULE_PLANS_MAX && oldest !== undefined) this.#plans.delete(oldest);
    const planning = new SharedWork((signal) => planGuest(spec, transpiler, verdicts, { signal }));
    this.#plans.set(digest, planning);
    const isCurrent = (): boolean => this.#plans.get(digest) === planning;
    planning.result.then(
      (plan) => {
        if (isCurrent()) this.#plans.set(digest, plan);
      },
      (error: unknown) => {
        if (isCurrent()) this.#plans.delete(digest);
        if (!planning.isAbandoned) log.error("a module could not be prepared", { digest, error });
      },
    );
    return planning;
  }

  /**
   * Lets go of the module's bytes after a run of its. Those of a plan that is still being made go when it is there: whoever
   * else waits for it reads them again.
   */
  dropBytes(found: FoundPlan): void {
    if (found instanceof SharedWork) found.result.then(dropBytes, () => {});
    else dropBytes(found);
  }

  /** Resolves when none is being made. */
  async settled(): Promise<void> {
    const making = [...this.#plans.values()].flatMap((found) => (found instanceof SharedWork ? [found.result] : []));
    await Promise.allSettled(making);
  }
}

function dropBytes(plan: GuestPlan): void {
  if (plan.ok) plan.memo.bytes = undefined;
}
