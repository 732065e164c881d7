/**
 * The blob store's contract: immutable bytes, named by their SHA-256. A blob that was committed survives power loss.
 */
import type { Digest } from "../base/ids.ts";
import type { CheckOptions, StoreTrouble } from "./trouble.ts";

export interface BlobStore {
  /** Begins a blob. Nothing of it is seen before `commit`. */
  create(): Promise<BlobWriter>;
  /** Undefined: there is no such blob. */
  open(digest: Digest): Promise<Blob | undefined>;
  /** Every blob that is there from the beginning of the iteration to its end, in no order; others may be left out. */
  list(): AsyncIterable<Digest>;
  /** Forgets a blob. Readers that have it open go on. Idempotent. */
  delete(digest: Digest): Promise<void>;
  /** What keeps the store from taking anything new; undefined if nothing does. Never rejects. */
  check(options?: CheckOptions): Promise<StoreTrouble | undefined>;
}

/** A blob being written. Disposing it without `commit` leaves nothing behind. */
export interface BlobWriter extends AsyncDisposable {
  /** Appends; resolves when more is welcome. The bytes are borrowed until then. Calls need not wait for each other. */
  write(bytes: Uint8Array): Promise<void>;
  /** All bytes so far are readable at this path until commit or disposal, for inspection. */
  finish(): Promise<{ readonly digest: Digest; readonly bytes: number; readonly path: string }>;
  /** Makes it durable under its digest. Call `finish` before. `isNew` is false when the blob was there already. */
  commit(): Promise<{ readonly isNew: boolean }>;
}

/** An open blob; the caller owns it. */
export interface Blob extends AsyncDisposable {
  readonly digest: Digest;
  readonly bytes: number;
  /** Up to `length` bytes from `offset`; fewer only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
}
