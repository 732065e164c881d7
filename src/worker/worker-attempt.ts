/** What a worker server does with each attempt that it holds, of its own process or of an earlier one. */
import type { PeerId } from "../base/ids.ts";
import type { OutputClient } from "../caps/output.ts";
import type { RunTarget } from "../caps/run.ts";
import type { AttemptId } from "../model/run.ts";

export interface WorkerAttempt extends RunTarget, AsyncDisposable {
  readonly id: AttemptId;
  /** The gateway that it is for: another one's attempts may bear the same numbers. */
  readonly gateway: PeerId;
  /** The guest has ended; what is left is to tell. */
  readonly hasEnded: boolean;
  /** By the monotonic clock; Infinity: not yet. */
  readonly endedAtMs: number;
  /** Its outcome is on the disk, and survives this process. */
  readonly isKept: boolean;
  /** The first byte of output that is still here. */
  readonly outputOffset: number;
  /** The gateway renewed the lease, in answer to what was asked at this time. Leases never get shorter. */
  renewed(askedAtMs: number): void;
  hasLeaseAt(nowMs: number): boolean;
  /** Output goes there, from `offset` on; the output becomes the attempt's. */
  attach(output: OutputClient, offset: number): void;
  /** The gateway is out of reach. */
  detach(): void;
  /** Ends the guest and gives the attempt back: somebody else is to try again. */
  handBack(reason: string): void;
  /** Ends the guest and forgets the attempt: it is no longer this worker's. */
  stop(reason: string): void;
  /** This process ends: what has ended stays on the disk for the next one, and the rest is given up. */
  leave(): void;
}
