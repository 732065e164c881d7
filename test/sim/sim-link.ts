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
  /** By how much later all arrives now. */
  readonly #lags = new Set<{ readonly ms: number }>();

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

  /** All that is sent from now on arrives so much later, until what this returns is called. */
  lag(ms: number): () => void {
    const lag = { ms };
    this.#lags.add(lag);
    return () => this.#lags.delete(lag);
  }

  /** Calls when the link carries something again. */
  whenMended(act: () => void): void {
    this.#onMended.push(act);
  }

  delayMs(bytes = 0): number {
    const { delayMsMin, delayMsMax, bytesPerMs } = this.#init;
    const lagMs = Math.max(0, ...[...this.#lags].map(({ ms }) => ms));
    return delayMsMin + (delayMsMax - delayMsMin) * this.#random.next() + bytes / bytesPerMs + lagMs;
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

/** An end of a connection over a link. */
interface LinkedEnd {
  readonly isOver: boolean;
  drop(options: { readonly isTold: boolean }): void;
}

export class Link {
  readonly toGateway: Direction;
  readonly toWorker: Direction;
  /** Of the connection that was made last, and of those before it that are there still. */
  #ends: { readonly gateway: LinkedEnd; readonly worker: LinkedEnd }[] = [];

  constructor(init: LinkInit, random: Random) {
    this.toGateway = new Direction(init, random);
    this.toWorker = new Direction(init, random);
  }
  connected(ends: { readonly gateway: LinkedEnd; readonly worker: LinkedEnd }): void {
    this.#ends = [...this.#ends.filter(({ gateway, worker }) => !gateway.isOver || !worker.isOver), ends];
  }

  /** Something on the way forgets every connection, and tells this end of it; `isTold`: the other one, too. */
  drop(end: "gateway" | "worker", options: { readonly isTold: boolean }): void {
    for (const ends of this.#ends) ends[end].drop(options);
  }
}
