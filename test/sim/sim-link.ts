/** A link between two simulated machines: how late, in what pieces and how much at a time it carries, if it carries at all. */
import { type Random, randomIndex } from "../../src/base/random.ts";

export interface LinkInit {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** Infinity: no limit. */
  readonly bytesPerMs: number;
  /** Bytes on their way above which a writer is told to wait. */
  readonly highWaterBytes: number;
  /** How many pieces in ten are cut in two. */
  readonly cutsInTen: number;
}

/** One way of a link. */
export class Direction {
  readonly #init: LinkInit;
  readonly #random: Random;
  #isCut = false;
  #onMended: (() => void)[] = [];

  constructor(init: LinkInit, random: Random) {
    this.#init = init;
    this.#random = random;
  }

  get highWaterBytes(): number {
    return this.#init.highWaterBytes;
  }

  get isCut(): boolean {
    return this.#isCut;
  }

  cut(): void {
    this.#isCut = true;
  }

  mend(): void {
    if (!this.#isCut) return;
    this.#isCut = false;
    const waiting = this.#onMended;
    this.#onMended = [];
    for (const act of waiting) act();
  }

  /** Calls when the link carries something again. */
  whenMended(act: () => void): void {
    this.#onMended.push(act);
  }

  delayMs(bytes = 0): number {
    const { delayMsMin, delayMsMax, bytesPerMs } = this.#init;
    return delayMsMin + (delayMsMax - delayMsMin) * this.#random.next() + bytes / bytesPerMs;
  }

  /** How many of these bytes come at once. */
  pieceOf(bytes: number): number {
    if (this.#random.next() * 10 >= this.#init.cutsInTen) return bytes;
    return 1 + randomIndex(this.#random, bytes);
  }

  chance(probability: number): boolean {
    return this.#random.next() < probability;
  }
}

export class Link {
  readonly toGateway: Direction;
  readonly toWorker: Direction;

  constructor(init: LinkInit, random: Random) {
    this.toGateway = new Direction(init, random);
    this.toWorker = new Direction(init, random);
  }
}
