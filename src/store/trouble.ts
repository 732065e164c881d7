/**
 * What can keep a store from taking anything new. It goes on answering questions as far as it can, and whoever asked for
 * a change is told so; what was acknowledged stays.
 *
 * - `disk-full`, `disk-nearly-full`, `not-writable`, `io-error`, `busy`: over as soon as the cause is, without a restart.
 *   A disk is nearly full while there is still room for what was accepted to come to its end.
 * - `moved`: the database is not where it was. What is written would be nobody's after a restart, so nothing is. Over when
 *   it is put back, or by a restart with what is there then.
 * - `damaged`: nothing more is written until somebody has seen to the file, so that the damage does not grow.
 * - `stopped`: the process has to be started again.
 */
import { statfsSync } from "node:fs";
import { ClusterError } from "../base/errors.ts";
import { DISK_FREE_BYTES_MIN, DISK_FREE_SHARE_MIN } from "../base/limits.ts";

export const TROUBLE_KINDS = [
  "disk-full",
  "disk-nearly-full",
  "not-writable",
  "io-error",
  "busy",
  "moved",
  "damaged",
  "stopped",
] as const;

export type TroubleKind = (typeof TROUBLE_KINDS)[number];

export interface StoreTrouble {
  readonly kind: TroubleKind;
  /** A sentence for whoever runs the gateway: it names files, and says what to do. */
  readonly message: string;
}

/**
 * An operation that the store did not carry out because of its trouble: `overloaded`, code `store-busy`, where trying again
 * soon may do, else `failed`, code `store-unavailable`. The message is for whoever runs the gateway.
 */
export class StoreFailure extends ClusterError {
  readonly trouble: TroubleKind;

  constructor(trouble: TroubleKind, message: string, cause?: unknown) {
    const isBusy = trouble === "busy";
    super(isBusy ? "overloaded" : "failed", message, { code: isBusy ? "store-busy" : "store-unavailable", cause });
    this.trouble = trouble;
  }
}

/** What is said where neither the database nor what has to lie beside it can be written. */
export function notWritableText(path: string, why: string): string {
  return `the database ${path} cannot be opened for writing (${why}): its folder has to exist and to be writable for this user`;
}

/** A list of tasks would begin with one that cannot be read. Those behind it are got by `cursor`. */
export class UnreadableTask extends StoreFailure {
  /** Its id, as far as that can be read. */
  readonly task: string;
  readonly cursor: string;

  constructor(task: string, what: string, cursor: string) {
    super("damaged", `the task ${JSON.stringify(task)} cannot be read, the database is damaged: ${what}`);
    this.task = task;
    this.cursor = cursor;
  }
}

export interface CheckOptions {
  /** Writes something, if only to see whether that can be done. Otherwise what is known is told. Default: false. */
  readonly isThorough?: boolean | undefined;
}

/** Whether the disk that holds `folder` has room for new work. Undefined, too, where that cannot be found out. */
export function lookForRoom(folder: string): StoreTrouble | undefined {
  let free: number;
  let total: number;
  try {
    const { bavail, blocks, bsize } = statfsSync(folder);
    free = bavail * bsize;
    total = blocks * bsize;
  } catch {
    return undefined;
  }
  if (total === 0 || free >= Math.min(DISK_FREE_BYTES_MIN, total * DISK_FREE_SHARE_MIN)) return undefined;
  const mebibytes = (free / 1024 / 1024).toFixed(1);
  return {
    kind: "disk-nearly-full",
    message: `the disk that holds ${folder} has ${mebibytes} MiB left, which is kept for what was accepted already: free some space`,
  };
}
