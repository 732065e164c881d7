/**
 * What a guest prints, on its way to the pool: cut into frames, and held to the task's limit. Past the limit the rest
 * is dropped, or the guest is ended; neither costs a system call, so that a flood of prints is cheap.
 *
 * What is written leaves at once: nobody could send it later, since a guest that computes gives no turn to anything
 * else in its process. Held back are only small pieces of lines in the midst of a flood, a long row of such writes with
 * nothing in between; a line's end, a large write, a sleep, a look at the clock or the guest's end sends them on their
 * way. So what can wait for a guest that has stopped writing is the last few pieces of an unfinished line, after more
 * than `FLOOD_WRITES_MIN` of them.
 */
import { RUNNER_OUTPUT_FRAME_BYTES_MAX } from "../../../base/limits.ts";
import { REPLY } from "../wire.ts";
import type { ControlWriter } from "../../../sandbox/child/control-pipe.ts";
import type { GuestExit } from "./guest-exit.ts";

/** A write of more than this is not small. */
const SMALL_BYTES_MAX = 64;
/** Small writes in a row that make a flood, and the longest that they may take. */
const FLOOD_WRITES_MIN = 1024;
const FLOOD_MS_MAX = 100;
/** Small writes that leave together, and the time that they may take to come, or the flood is over. */
const HELD_WRITES_MAX = 64;
const HELD_MS_MAX = 10;
const NEWLINE = 0x0a;
const NOTHING = new Uint8Array(0);

type OutputKind = typeof REPLY.stdout | typeof REPLY.stderr;

export class GuestOutput {
  readonly #writer: Pick<ControlWriter, "send">;
  readonly #exit: Pick<GuestExit, "leave">;
  readonly #nowMs: () => number;
  #bytesLeft = 0;
  #limit: "truncate" | "fail" = "truncate";
  #hasTruncated = false;
  /** Small writes in a row. */
  #smallWrites = 0;
  /** When the row began or, in a flood, when pieces last left. */
  #sinceMs = 0;
  readonly #held = new Uint8Array(HELD_WRITES_MAX * SMALL_BYTES_MAX);
  #heldBytes = 0;
  #heldWrites = 0;
  #heldKind: OutputKind = REPLY.stdout;

  constructor(writer: Pick<ControlWriter, "send">, exit: Pick<GuestExit, "leave">, nowMs: () => number) {
    this.#writer = writer;
    this.#exit = exit;
    this.#nowMs = nowMs;
  }

  /** Called before each run. */
  reset(bytesMax: number, limit: "truncate" | "fail"): void {
    this.#bytesLeft = bytesMax;
    this.#limit = limit;
    this.#hasTruncated = false;
    this.#smallWrites = 0;
    this.#heldBytes = 0;
    this.#heldWrites = 0;
  }

  write(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const kept = bytes.length <= this.#bytesLeft ? bytes : bytes.subarray(0, this.#bytesLeft);
    this.#bytesLeft -= kept.length;
    const kind = stream === "stdout" ? REPLY.stdout : REPLY.stderr;
    if (kept.length > SMALL_BYTES_MAX || !this.#isInFlood()) this.#send(kind, kept);
    else if (kept.length > 0) this.#hold(kind, kept);
    if (kept.length === bytes.length) return;
    this.flush();
    if (!this.#hasTruncated) this.#writer.send(REPLY.truncated, NOTHING);
    this.#hasTruncated = true;
    if (this.#limit === "fail") this.#exit.leave({ kind: "output-exceeded" });
  }

  /** Sends what is held back. */
  flush(): void {
    if (this.#heldWrites === 0) return;
    this.#heldWrites = 0;
    const held = this.#held.subarray(0, this.#heldBytes);
    this.#heldBytes = 0;
    this.#writer.send(this.#heldKind, held);
  }

  #send(kind: OutputKind, bytes: Uint8Array): void {
    this.flush();
    if (bytes.length > SMALL_BYTES_MAX) this.#smallWrites = 0;
    for (let at = 0; at < bytes.length; at += RUNNER_OUTPUT_FRAME_BYTES_MAX) {
      this.#writer.send(kind, bytes.subarray(at, at + RUNNER_OUTPUT_FRAME_BYTES_MAX));
    }
  }

  #isInFlood(): boolean {
    if (this.#smallWrites >= FLOOD_WRITES_MIN) return true;
    if (this.#smallWrites++ === 0) this.#sinceMs = this.#nowMs();
    if (this.#smallWrites < FLOOD_WRITES_MIN) return false;
    const nowMs = this.#nowMs();
    const isFlood = nowMs - this.#sinceMs <= FLOOD_MS_MAX;
    if (!isFlood) this.#smallWrites = 0;
    this.#sinceMs = nowMs;
    return isFlood;
  }

  #hold(kind: OutputKind, bytes: Uint8Array): void {
    if (kind !== this.#heldKind) this.flush();
    this.#heldKind = kind;
    this.#held.set(bytes, this.#heldBytes);
    this.#heldBytes += bytes.length;
    this.#heldWrites++;
    if (this.#heldWrites === HELD_WRITES_MAX) {
      this.flush();
      const nowMs = this.#nowMs();
      if (nowMs - this.#sinceMs > HELD_MS_MAX) this.#smallWrites = 0;
      this.#sinceMs = nowMs;
    } else if (bytes.includes(NEWLINE)) {
      this.flush();
    }
  }
}
