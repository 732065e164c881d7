/**
 * What a guest prints, on its way to the pool: cut into frames, and held to the task's limit. Past the limit the rest
 * is dropped, or the guest is ended; neither costs a system call, so that a flood of prints is cheap.
 */
import { RUNNER_OUTPUT_FRAME_BYTES_MAX } from "../../../base/limits.ts";
import type { ControlWriter } from "./control-pipe.ts";
import type { GuestExit } from "./guest-exit.ts";
import { REPLY } from "../wire.ts";

export class GuestOutput {
  readonly #writer: ControlWriter;
  readonly #exit: GuestExit;
  #bytesLeft = 0;
  #limit: "truncate" | "fail" = "truncate";
  #hasTruncated = false;

  constructor(writer: ControlWriter, exit: GuestExit) {
    this.#writer = writer;
    this.#exit = exit;
  }

  /** Called before each run. */
  reset(bytesMax: number, limit: "truncate" | "fail"): void {
    this.#bytesLeft = bytesMax;
    this.#limit = limit;
    this.#hasTruncated = false;
  }

  write(stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const kept = bytes.subarray(0, this.#bytesLeft);
    const kind = stream === "stdout" ? REPLY.stdout : REPLY.stderr;
    for (let at = 0; at < kept.length; at += RUNNER_OUTPUT_FRAME_BYTES_MAX) {
      this.#writer.send(kind, kept.subarray(at, at + RUNNER_OUTPUT_FRAME_BYTES_MAX));
    }
    this.#bytesLeft -= kept.length;
    if (kept.length === bytes.length) return;
    if (!this.#hasTruncated) this.#writer.send(REPLY.truncated, new Uint8Array(0));
    this.#hasTruncated = true;
    if (this.#limit === "fail") this.#exit.leave({ kind: "output-exceeded" });
  }
}
