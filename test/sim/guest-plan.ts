/**
 * What a simulated guest does: a function of its task's arguments and its attempt's name alone, so that worker and checker
 * agree on it without a word.
 */
import { createHash } from "node:crypto";
import { assert } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { FileContent } from "../../src/model/task-file.ts";
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
  /** How many files they leave behind, and of how many bytes each at most. */
  readonly files: number;
  readonly fileBytes: number;
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

/** Why a guest ended that did nothing to deserve it. */
export const SICK_MACHINE = "its machine is out of order";

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
  const bytes = new Uint8Array(to - from);
  for (let at = from; at < to; at += 1) bytes[at - from] = at * 7 + (at >> 8) + salt;
  return bytes;
}

/** What the attempt leaves in its folder: no two attempts leave the same. */
export function guestFiles(args: readonly string[], id: AttemptId): readonly FileContent[] {
  return guestFileBytes(args, id).map(({ path, content }) => {
    return { path, digest: digestOf(content), bytes: content.length };
  });
}

export function guestFileBytes(
  args: readonly string[],
  id: AttemptId,
): readonly { readonly path: string; readonly content: Uint8Array }[] {
  const { files, fileBytes, seed } = parseHabits(args);
  const random = new SeededRandom(seed * 15_485_863 + id.run * 32_452_843 + id.attempt * 49_979_687);
  random.next();
  return Array.from({ length: files }, (_, index) => {
    const from = (index + 1) * 1_000_000;
    return { path: guestFilePath(index), content: guestBytes(id, from, from + randomIndex(random, fileBytes + 1)) };
  });
}

export function digestOf(content: Uint8Array): Digest {
  const digest = parseDigest(createHash("sha256").update(content).digest("hex"));
  assert(digest !== undefined, "a SHA-256 in hex is a digest");
  return digest;
}

export function guestFilePath(index: number): string {
  return `out/${index}`;
}

function parseHabits(args: readonly string[]): GuestHabits {
  return JSON.parse(args[0] ?? "") as GuestHabits;
}
