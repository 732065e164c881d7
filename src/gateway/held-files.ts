/** The input files that the clients of one connection have uploaded and hold: their submissions may name them. */
import { overloaded } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { FILES_HELD_BYTES_MAX, INPUT_FILES_MAX } from "../base/limits.ts";

interface HeldFile {
  readonly bytes: number;
  holders: number;
}

export class HeldFiles {
  readonly #files = new Map<Digest, HeldFile>();
  #count = 0;
  #bytes = 0;

  /** Undefined: it is not held. */
  bytesOf(digest: Digest): number | undefined {
    return this.#files.get(digest)?.bytes;
  }

  /** Throws `overloaded`, code `too-many-uploads`, where there is no room for one more of so many bytes. */
  requireRoom(bytes: number): void {
    if (this.#count < INPUT_FILES_MAX && this.#bytes + bytes <= FILES_HELD_BYTES_MAX) return;
    throw overloaded(`at most ${INPUT_FILES_MAX} files of ${FILES_HELD_BYTES_MAX} bytes are held: drop some`, {
      code: "too-many-uploads",
    });
  }

  /** Held until the caller disposes it. */
  hold(digest: Digest, bytes: number): Disposable {
    this.requireRoom(bytes);
    const held = this.#files.get(digest) ?? { bytes, holders: 0 };
    this.#files.set(digest, held);
    held.holders++;
    this.#count++;
    this.#bytes += bytes;
    return {
      [Symbol.dispose]: () => {
        held.holders--;
        this.#count--;
        this.#bytes -= bytes;
        if (held.holders === 0) this.#files.delete(digest);
      },
    };
  }
}
