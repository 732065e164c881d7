/** Memory that many share: each takes what it needs as it goes, and nobody waits, since all might wait for each other. */
export class ByteBudget {
  #freeBytes: number;

  constructor(bytesMax: number) {
    this.#freeBytes = bytesMax;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Nothing at first. The caller disposes it, and all of it is free again. */
  openShare(): BudgetShare {
    return new BudgetShare((bytes) => {
      if (bytes > this.#freeBytes) return false;
      this.#freeBytes -= bytes;
      return true;
    });
  }
}

export class BudgetShare implements Disposable {
  /** A negative number gives back. */
  readonly #draw: (bytes: number) => boolean;
  #bytes = 0;

  constructor(draw: (bytes: number) => boolean) {
    this.#draw = draw;
  }

  /** What is taken and was not given back. */
  get bytes(): number {
    return this.#bytes;
  }

  /** False: there is not as much left, and nothing was taken. */
  take(bytes: number): boolean {
    if (!this.#draw(bytes)) return false;
    this.#bytes += bytes;
    return true;
  }

  /** No more than was taken. */
  giveBack(bytes: number): void {
    const given = Math.min(bytes, this.#bytes);
    this.#draw(-given);
    this.#bytes -= given;
  }

  [Symbol.dispose](): void {
    this.giveBack(this.#bytes);
  }
}
