/** Many simulations, one after the other, each checked; for the tests of every push. */
import { expect, test } from "vitest";
import { simulate } from "./simulate.ts";
import { Tally } from "./tally.ts";

/** Simulations of every push, and into how many test files they are shared out. */
export const SEEDS_PER_PUSH = 500;
export const SEED_FILES = 4;

/** The part of the seeds that this file has. A seed that fails is run again by `npm run sim -- --seed <seed>`. */
export function describeSeeds(part: number): void {
  const count = SEEDS_PER_PUSH / SEED_FILES;
  const first = part * count + 1;
  test(
    `the seeds ${first} to ${first + count - 1} break no promise, and each could have been broken`,
    { timeout: 300_000 },
    async () => {
      const broken: Record<string, readonly string[]> = {};
      const all = new Tally();
      for (let seed = first; seed < first + count; seed += 1) {
        const { breaches, tally } = await simulate(seed);
        all.add(tally);
        if (breaches.length > 0) broken[`npm run sim -- --seed ${seed}`] = breaches;
      }
      expect(broken).toEqual({});
      // A check that has nothing to look at finds nothing.
      expect(all.tooSeldom(count)).toEqual([]);
    },
  );
}
