/**
 * What a simulated guest does: a function of its task's arguments and its attempt's name alone, so that worker and checker
 * agree on it without a word.
 */
import type { Outcome } from "../../src/model/outcome.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { randomIndex } from "../../src/base/random.ts";
import { SeededRandom } from "../support/seeded-random.ts";

/** How the guests of one task are, on the whole. */
export interface GuestHabits {
  readonly seed: number;
  /** Mean time a guest takes. */
  readonly meanMs: number;
  /** Share of the attempts that end badly. */
  readonly failures: number;
  /** Share of the attempts that take their runner down. */
  readonly crashes: number;
  /** Bytes of output at most. */
  readonly outputBytes: number;
}

export interface GuestWrite {
  /** After the guest's beginning. */
  readonly atMs: number;
  readonly stream: OutputStream;
  readonly bytes: number;
}

export interface GuestPlan {
  readonly ms: number;
  readonly outcome: Outcome;
  readonly writes: readonly GuestWrite[];
  readonly outputBytes: number;
}

export function habitArgs(habits: GuestHabits): readonly string[] {
  return [JSON.stringify(habits)];
}

export function guestPlan(args: readonly string[], id: AttemptId): GuestPlan {
  const habits = parseHabits(args);
  const random = new SeededRandom(habits.seed * 7_919 + id.run * 104_729 + id.attempt * 1_299_709);
  random.next();
  const ms = habits.meanMs * (0.2 + 1.6 * random.next());
  const outcome = outcomeOf(habits, random);
  const writes: GuestWrite[] = [];
  let left = Math.floor(habits.outputBytes * random.next());
  for (let atMs = ms * random.next(); left > 0; atMs += (ms - atMs) * random.next()) {
    const bytes = writes.length === 7 ? left : 1 + randomIndex(random, left);
    writes.push({ atMs, stream: random.next() < 0.7 ? "stdout" : "stderr", bytes });
    left -= bytes;
  }
  return { ms, outcome, writes, outputBytes: writes.reduce((sum, write) => sum + write.bytes, 0) };
}

function outcomeOf({ failures, crashes }: GuestHabits, random: SeededRandom): Outcome {
  if (random.next() < crashes) return { kind: "lost", reason: "its runner died" };
  if (random.next() >= failures) return { kind: "exited", code: 0 };
  switch (randomIndex(random, 3)) {
    case 0:
      return { kind: "trapped", reason: "unreachable" };
    case 1:
      return { kind: "timed-out", reason: "wall time" };
    default:
      return { kind: "exited", code: 1 + randomIndex(random, 255) };
  }
}

/** Bytes `from` to `to` of what the attempt writes: no two attempts write the same. */
export function guestBytes(id: AttemptId, from: number, to: number): Uint8Array {
  const salt = id.serial * 131 + id.run * 31 + id.attempt * 17;
  return Uint8Array.from({ length: to - from }, (_, index) => (from + index) * 7 + ((from + index) >> 8) + salt);
}

function parseHabits(args: readonly string[]): GuestHabits {
  return JSON.parse(args[0] ?? "") as GuestHabits;
}
