/** How a WASI 0.2 call fails: by throwing an error whose `payload` is the call's error value, as transpiled code expects. */
import { ERRNO, WasiFailure } from "../files/errno.ts";
import type { Errno } from "../files/errno.ts";

export class CallFailure extends Error {
  override readonly name = "CallFailure";
  readonly payload: unknown;

  constructor(payload: unknown) {
    super(typeof payload === "string" ? payload : "a call of the guest's failed");
    this.payload = payload;
  }
}

const ERROR_CODES: ReadonlyMap<Errno, string> = new Map([
  [ERRNO.ACCES, "access"],
  [ERRNO.AGAIN, "would-block"],
  [ERRNO.BADF, "bad-descriptor"],
  [ERRNO.BUSY, "busy"],
  [ERRNO.EXIST, "exist"],
  [ERRNO.FBIG, "file-too-large"],
  [ERRNO.ILSEQ, "illegal-byte-sequence"],
  [ERRNO.INVAL, "invalid"],
  [ERRNO.ISDIR, "is-directory"],
  [ERRNO.LOOP, "loop"],
  [ERRNO.MLINK, "too-many-links"],
  [ERRNO.NAMETOOLONG, "name-too-long"],
  [ERRNO.NOENT, "no-entry"],
  [ERRNO.NOSPC, "insufficient-space"],
  [ERRNO.NOTDIR, "not-directory"],
  [ERRNO.NOTEMPTY, "not-empty"],
  [ERRNO.NOTSUP, "unsupported"],
  [ERRNO.OVERFLOW, "overflow"],
  [ERRNO.PERM, "not-permitted"],
  [ERRNO.NOTCAPABLE, "not-permitted"],
  [ERRNO.ROFS, "read-only"],
  [ERRNO.SPIPE, "invalid-seek"],
  [ERRNO.XDEV, "cross-device"],
]);

/** The `error-code` of `wasi:filesystem/types` for an error number. */
export function errorCodeOf(errno: Errno): string {
  return ERROR_CODES.get(errno) ?? "io";
}

/** Runs a file operation; its error number becomes the call's error value. */
export function asFileCall<T>(operation: () => T): T {
  try {
    return operation();
  } catch (thrown) {
    if (thrown instanceof WasiFailure) throw new CallFailure(errorCodeOf(thrown.errno));
    throw thrown;
  }
}
