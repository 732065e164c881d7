/** What a gateway tells of its runs, to whoever measures them: after the store has it, and as often as it happens. */
import type { OutcomeKind, Usage } from "../model/outcome.ts";
import type { RunState } from "../model/run.ts";

/** Methods must be quick, and must not throw. */
export interface RunMeter {
  /** An attempt was leased. `waitedMs`: since its run was due; undefined if it is not the run's first. */
  started(waitedMs: number | undefined): void;
  /** An attempt has ended, and its run is in `state` with it. */
  ended(end: { readonly outcome: OutcomeKind; readonly usage: Usage; readonly state: RunState }): void;
}

/** Measures nothing. */
export const NO_RUN_METER: RunMeter = { started: () => {}, ended: () => {} };
