/** What a gateway tells of its runs, to whoever measures them: after the store has it, and as often as it happens. */
import type { OutcomeKind, Usage } from "../model/outcome.ts";
import type { RunState } from "../model/run.ts";

/**
 * Why what comes of an attempt is refused.
 * - `lost`: it was given up, as when its lease ended, and nobody has begun the run again.
 * - `superseded`: a later attempt of its run has begun.
 * - `cancelled`, `deleted`: by somebody's word.
 */
export const REFUSAL_CAUSES = ["lost", "superseded", "cancelled", "deleted"] as const;

export type RefusalCause = (typeof REFUSAL_CAUSES)[number];

/** Methods must be quick, and must not throw. */
export interface RunMeter {
  /** An attempt was leased. `waitedMs`: since its run was due; undefined if it is not the run's first. */
  started(waitedMs: number | undefined): void;
  /** An attempt has ended, and its run is in `state` with it. */
  ended(end: { readonly outcome: OutcomeKind; readonly usage: Usage; readonly state: RunState }): void;
  /** A worker came with an attempt, or with what came of it, when it was over. */
  refused(cause: RefusalCause): void;
}

/** Measures nothing. */
export const NO_RUN_METER: RunMeter = { started: () => {}, ended: () => {}, refused: () => {} };
