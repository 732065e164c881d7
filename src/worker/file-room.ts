/** Room on a worker's disk for files that wait for a gateway. When there is none left, nothing is begun that may add to them. */
import { FILES_SPOOLED_BYTES_MAX } from "../base/limits.ts";

export class FileRoom {
  readonly #onRoom: () => void;
  #bytes = 0;

  /** `onRoom` is called when there is room again. */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  get isFull(): boolean {
    return this.#bytes >= FILES_SPOOLED_BYTES_MAX;
  }

  /** So many bytes were written or, below 0, are gone. */
  readonly add = (bytes: number): void => {
    const wasFull = this.isFull;
    this.#bytes += bytes;
    if (wasFull && !this.isFull) this.#onRoom();
  };
}
