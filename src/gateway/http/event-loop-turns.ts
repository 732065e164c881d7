/** Long work on the event loop, in short pieces: what else waits there has its turn in between. */
import type { Clock } from "../../base/clock.ts";
import { LOOP_TURN_MS_MAX } from "../../base/limits.ts";

export class EventLoopTurns {
  readonly #clock: Pick<Clock, "monotonicMs">;
  #beganMs: number;

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
    this.#beganMs = clock.monotonicMs();
  }

  /** To be awaited before each piece of the work: lets the others go first once it has gone on for LOOP_TURN_MS_MAX. */
  async next(): Promise<void> {
    if (this.#clock.monotonicMs() - this.#beganMs < LOOP_TURN_MS_MAX) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#beganMs = this.#clock.monotonicMs();
  }
}
