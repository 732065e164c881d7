/** The error numbers of WASI preview 1, and how host code below a guest fails with one. Pure. */

export const ERRNO = {
  SUCCESS: 0,
  TOOBIG: 1,
  ACCES: 2,
  AGAIN: 6,
  BADF: 8,
  BUSY: 10,
  EXIST: 20,
  FAULT: 21,
  FBIG: 22,
  ILSEQ: 25,
  INVAL: 28,
  IO: 29,
  ISDIR: 31,
  LOOP: 32,
  MFILE: 33,
  MLINK: 34,
  NAMETOOLONG: 37,
  NOENT: 44,
  NOSPC: 51,
  NOSYS: 52,
  NOTDIR: 54,
  NOTEMPTY: 55,
  NOTSOCK: 57,
  NOTSUP: 58,
  OVERFLOW: 61,
  PERM: 63,
  PIPE: 64,
  ROFS: 69,
  SPIPE: 70,
  XDEV: 75,
  NOTCAPABLE: 76,
} as const;

export type Errno = (typeof ERRNO)[keyof typeof ERRNO];

/** A call of the guest's that fails with an error number: an answer, not a fault of the host. */
export class WasiFailure extends Error {
  override readonly name = "WasiFailure";
  readonly errno: Errno;

  constructor(errno: Errno) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** One instance per number, made once: a guest that fails in a loop does not pay for stack traces. */
const FAILURES: ReadonlyMap<Errno, WasiFailure> = new Map(
  Object.values(ERRNO).map((errno) => [errno, new WasiFailure(errno)]),
);

/** Ends the guest's call under way with `errno`. */
export function refuse(errno: Errno): never {
  throw FAILURES.get(errno) ?? new WasiFailure(errno);
}
