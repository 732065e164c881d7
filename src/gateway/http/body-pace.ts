/**
 * Sees that a body does not come in too slowly: whoever sends it holds one of few places. It is looked at as bytes come;
 * a body of which none come any more is given up by its reader.
 */
import type { Clock } from "../../base/clock.ts";
import { UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_SLOW_MS_MAX } from "../../base/limits.ts";
import { Refusal } from "./problem.ts";

export class BodyPace {
  readonly #clock: Clock;
  readonly #beganMs: number;
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beganMs = clock.monotonicMs();
  }

  /** To be told of all bytes as they come. Returns the Refusal of a body that has been too slow for too long. */
  refuse(bytes: number): Refusal | undefined {
    this.#bytes += bytes;
    const ms = this.#clock.monotonicMs() - this.#beganMs;
    if (ms < UPLOAD_SLOW_MS_MAX || this.#bytes * 1_000 >= ms * UPLOAD_BYTES_PER_SECOND_MIN) return undefined;
    return new Refusal(
      "too-slow",
      `The body came at less than ${UPLOAD_BYTES_PER_SECOND_MIN} bytes a second for ${Math.round(ms / 1_000)} s: send it again, faster.`,
    );
  }
}
