/**
 * Workers to choose from, in one round of matching, by chance or in an order. A worker may be in several pools; one that
 * has been used up, or has moved, through another pool is noticed when it comes up, so that no pool tells the others.
 *
 * Invariant: within a round a worker only loses room, weight and precedence. What a pool remembers of a worker is then
 * too good at most, never too bad, and checking the one that comes up is enough.
 *
 * Each operation takes logarithmic time, amortised over what the other pools did.
 */
import { type Random, randomIndex } from "../base/random.ts";

export interface PoolWorker {
  /** Offers of it that are left in this round. */
  readonly free: number;
}

export interface WorkerPool<W extends PoolWorker> {
  /** Takes the next worker that has an offer left out of the pool; undefined when there is none. */
  pop(): W | undefined;
  /** Puts a worker back that this pool has popped. */
  push(worker: W): void;
}

/** Draws at random, with probabilities in proportion to weights. A Fenwick tree holds the sums of the weights. */
export class SampledPool<W extends PoolWorker> implements WorkerPool<W> {
  readonly #workers: readonly W[];
  readonly #indexes: ReadonlyMap<W, number>;
  readonly #weightOf: (worker: W) => number;
  readonly #random: Random;
  /** The weight by which a worker is in the pool; 0: it is not. */
  readonly #weights: Float64Array;
  /** `#sums[i]` is the sum of the `i & -i` weights before index i. */
  readonly #sums: Float64Array;
  #total = 0;

  /** Weights are whole numbers. */
  constructor(workers: readonly W[], weightOf: (worker: W) => number, random: Random) {
    this.#workers = workers;
    this.#indexes = new Map(workers.map((worker, index) => [worker, index]));
    this.#weightOf = weightOf;
    this.#random = random;
    this.#weights = new Float64Array(workers.length);
    this.#sums = new Float64Array(workers.length + 1);
    for (const worker of workers) this.push(worker);
  }

  pop(): W | undefined {
    while (this.#total > 0) {
      const index = this.#indexAt(randomIndex(this.#random, this.#total));
      const worker = this.#workers[index];
      const remembered = this.#weights[index] ?? 0;
      this.#setWeight(index, 0);
      if (worker === undefined) continue;
      const weight = this.#currentWeight(worker);
      // One that was drawn by a weight it has no longer counts with the share it still has: accepted with that chance,
      // else entered anew and all drawn again. This keeps the proportions exact.
      if (weight === remembered || randomIndex(this.#random, remembered) < weight) return worker;
      this.#setWeight(index, weight);
    }
    return undefined;
  }

  push(worker: W): void {
    const index = this.#indexes.get(worker);
    if (index !== undefined) this.#setWeight(index, this.#currentWeight(worker));
  }

  #currentWeight(worker: W): number {
    return worker.free > 0 ? this.#weightOf(worker) : 0;
  }

  #setWeight(index: number, weight: number): void {
    const change = weight - (this.#weights[index] ?? 0);
    if (change === 0) return;
    this.#weights[index] = weight;
    this.#total += change;
    for (let at = index + 1; at < this.#sums.length; at += at & -at) this.#sums[at] = (this.#sums[at] ?? 0) + change;
  }

  /** The worker at this point of the stretch on which each has a length of its weight. */
  #indexAt(point: number): number {
    let left = Math.min(point, this.#total - 1);
    let index = 0;
    for (let step = 2 ** Math.floor(Math.log2(this.#sums.length)); step >= 1; step /= 2) {
      const sum = this.#sums[index + step];
      if (sum === undefined || sum > left) continue;
      left -= sum;
      index += step;
    }
    return index;
  }
}

interface Ranked<W> {
  readonly worker: W;
  readonly rank: number;
  readonly tie: number;
}

/** Gives the worker of the lowest rank first, and of those the one of the lowest tie. A binary heap. */
export class OrderedPool<W extends PoolWorker> implements WorkerPool<W> {
  readonly #rankOf: (worker: W) => number;
  readonly #tieOf: (worker: W) => number;
  readonly #heap: Ranked<W>[] = [];

  /** A worker's rank never falls within a round. `tieOf` is asked each time a worker enters. */
  constructor(workers: readonly W[], rankOf: (worker: W) => number, tieOf: (worker: W) => number) {
    this.#rankOf = rankOf;
    this.#tieOf = tieOf;
    for (const worker of workers) this.push(worker);
  }

  pop(): W | undefined {
    for (let top = this.#popTop(); top !== undefined; top = this.#popTop()) {
      if (top.worker.free === 0) continue;
      if (this.#rankOf(top.worker) === top.rank) return top.worker;
      this.push(top.worker);
    }
    return undefined;
  }

  push(worker: W): void {
    if (worker.free === 0) return;
    const entry: Ranked<W> = { worker, rank: this.#rankOf(worker), tie: this.#tieOf(worker) };
    let index = this.#heap.length;
    this.#heap.push(entry);
    while (index > 0) {
      const parentIndex = (index - 1) >>> 1;
      const parent = this.#heap[parentIndex];
      if (parent === undefined || !comesBefore(entry, parent)) break;
      this.#heap[index] = parent;
      index = parentIndex;
    }
    this.#heap[index] = entry;
  }

  #popTop(): Ranked<W> | undefined {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (last === undefined || last === top) return top;
    let index = 0;
    for (;;) {
      const [childIndex, child] = this.#firstChild(index);
      if (child === undefined || !comesBefore(child, last)) break;
      this.#heap[index] = child;
      index = childIndex;
    }
    this.#heap[index] = last;
    return top;
  }

  #firstChild(index: number): readonly [number, Ranked<W> | undefined] {
    const left = this.#heap[2 * index + 1];
    const right = this.#heap[2 * index + 2];
    if (left !== undefined && right !== undefined && comesBefore(right, left)) return [2 * index + 2, right];
    return [2 * index + 1, left];
  }
}

function comesBefore(one: Ranked<unknown>, other: Ranked<unknown>): boolean {
  return one.rank < other.rank || (one.rank === other.rank && one.tie < other.tie);
}
