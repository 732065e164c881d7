/** Draws for scenarios: one sequence of numbers, from a seed. */
import { randomIndex } from "../../src/base/random.ts";
import { SeededRandom } from "../support/seeded-random.ts";

export class Dice {
  readonly random: SeededRandom;

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
  }

  below(count: number): number {
    return randomIndex(this.random, count);
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new Error("nothing to choose from");
    return choice;
  }

  chance(probability: number): boolean {
    return this.random.next() < probability;
  }

  /** Spread over the orders of magnitude. */
  between(min: number, max: number): number {
    return min * (max / min) ** this.random.next();
  }
}
