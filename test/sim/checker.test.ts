import { expect, test } from "vitest";
import { PLANTED_BUGS } from "./planted-bugs.ts";
import { PLANTED_BUGS_OF_AGE } from "./planted-bugs-of-age.ts";
import { simulate } from "./simulate.ts";

/** Seeds within which a planted bug has to be found. */
const SEEDS_MAX = 60;

test.each([...PLANTED_BUGS, ...PLANTED_BUGS_OF_AGE])(
  "finds it when $name ($breaks)",
  { timeout: 120_000 },
  async (bug) => {
    const { breaks, plant, firstSeed = 1, ...given } = bug;
    const found: string[] = [];
    for (let seed = firstSeed; seed < firstSeed + SEEDS_MAX && !found.some((each) => breaks.test(each)); seed += 1) {
      found.push(...(await simulate(seed, { sabotage: plant, ...given })).breaches);
    }
    expect(found.find((each) => breaks.test(each))).toBeDefined();
  },
);
