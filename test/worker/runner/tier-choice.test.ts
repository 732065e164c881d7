import { describe, expect, test } from "vitest";
import { OPTIMIZING_NS_PER_CODE_BYTE, SMALL_CODE_BYTES_MAX } from "../../../src/base/limits.ts";
import { chooseTier, rememberRun } from "../../../src/worker/runner/tier-choice.ts";
import type { FinishedRun, ModuleHistory } from "../../../src/worker/runner/tier-choice.ts";

const LARGE = 5_000_000;
/** CPU time that compiling all of the large module well is taken to need. */
const COMPILING_MS = (LARGE * OPTIMIZING_NS_PER_CODE_BYTE) / 1e6;

/** The history after runs of that CPU time, each on the tier that was chosen for it, all but the first compiled. */
function after(...cpuMs: readonly number[]): { history: ModuleHistory | undefined; tiers: readonly string[] } {
  let history: ModuleHistory | undefined;
  const tiers: string[] = [];
  for (const each of cpuMs) {
    const tier = chooseTier(LARGE, history);
    const wasCompiled = tiers.includes(tier);
    tiers.push(tier);
    history = rememberRun(LARGE, history, { tier, cpuMs: each, wasCompiled });
  }
  return { history, tiers: [...tiers, chooseTier(LARGE, history)] };
}

describe("the tier of a module", () => {
  test("of little code is optimized, whatever is known of it", () => {
    const history = { tier: "baseline", workMs: 0 } as const;
    expect(chooseTier(SMALL_CODE_BYTES_MAX, undefined)).toBe("optimized");
    expect(chooseTier(SMALL_CODE_BYTES_MAX, history)).toBe("optimized");
  });

  test("of much code is baseline on its first run", () => {
    expect(chooseTier(SMALL_CODE_BYTES_MAX + 1, undefined)).toBe("baseline");
    expect(chooseTier(LARGE, undefined)).toBe("baseline");
  });

  test("stays baseline while its runs are short beside compiling it", () => {
    expect(after(500, 400, 300).tiers).toEqual(["baseline", "baseline", "baseline", "baseline"]);
  });

  test("becomes optimized after a run that took longer than compiling it would", () => {
    expect(after(COMPILING_MS + 1).tiers).toEqual(["baseline", "optimized"]);
  });

  test("stays optimized though the first such run spends its time on compiling", () => {
    const long = 4 * COMPILING_MS;
    expect(after(long, long + COMPILING_MS, long, long).tiers.slice(1)).toEqual(Array(4).fill("optimized"));
  });

  test("goes back to baseline when its runs have become short", () => {
    const { tiers } = after(2 * COMPILING_MS, COMPILING_MS + 50, 50, 50, 50);
    expect(tiers.slice(0, 2)).toEqual(["baseline", "optimized"]);
    expect(tiers.at(-1)).toBe("baseline");
  });

  test("does not go to and fro between runs that lie near the line", () => {
    const near = [1.05, 0.9, 1.1, 0.95, 0.9].map((share) => share * COMPILING_MS);
    const runs = near.map((cpuMs, index) => (index === 1 ? cpuMs + COMPILING_MS : cpuMs));
    expect(after(...runs).tiers.slice(1)).toEqual(Array(5).fill("optimized"));
  });
});

describe("what is remembered of a run", () => {
  const run: FinishedRun = { tier: "baseline", cpuMs: 100, wasCompiled: true };

  test("is nothing for little code", () => {
    expect(rememberRun(SMALL_CODE_BYTES_MAX, undefined, run)).toBeUndefined();
  });

  test("weighs a late run as much as all before it", () => {
    expect(rememberRun(LARGE, { tier: "baseline", workMs: 300 }, run)).toEqual({ tier: "baseline", workMs: 200 });
  });

  test("leaves out what compiling is taken to have cost, and is never negative", () => {
    const first = { tier: "optimized", cpuMs: COMPILING_MS - 1, wasCompiled: false } as const;
    expect(rememberRun(LARGE, undefined, first)).toEqual({ tier: "optimized", workMs: 0 });
  });
});
