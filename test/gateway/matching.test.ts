import { describe, expect, test } from "vitest";
import { TURNS_MAX } from "../../src/base/limits.ts";
import { type Digest, type PeerId, parseDigest, parsePeerId } from "../../src/base/ids.ts";
import { match, type OfferView, type RunView } from "../../src/gateway/matching.ts";
import { Turns } from "../../src/gateway/turns.ts";
import { type Entry, parseCustomKind } from "../../src/model/entry.ts";
import { PICK_POLICIES, type PickPolicy, type WorkerState, meetsRequirements } from "../../src/model/worker.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { fc } from "../support/properties.ts";

function peerId(index: number): PeerId {
  const parsed = parsePeerId(`12D3${"w".repeat(40)}${String(index + 1).replaceAll("0", "z")}`);
  if (parsed === undefined) throw new Error("not a peer id");
  return parsed;
}

function digest(index: number): Digest {
  const parsed = parseDigest(index.toString(16).padStart(64, "0"));
  if (parsed === undefined) throw new Error("not a digest");
  return parsed;
}

interface WorkerInit extends Partial<WorkerState> {
  /** Offers that wait. Default: one. */
  readonly free?: number;
}

interface TestOffer extends OfferView {
  readonly number: number;
}

/** The offers of workers 0, 1, 2…: each worker's together, in their order. */
function offersOf(workers: readonly WorkerInit[]): TestOffer[] {
  return workers.flatMap(({ free = 1, ...state }, index) =>
    Array.from({ length: free }, (_, number) => ({ number, peer: peerId(index), state: workerState(state) })),
  );
}

function workerState(state: Partial<WorkerState>): WorkerState {
  return { slots: 4, busy: 0, weight: 1, labels: {}, version: "1.0.0", cachedModules: [], ...state };
}

interface RunInit {
  readonly require?: Readonly<Record<string, string>>;
  readonly module?: Digest;
  readonly entry?: Entry;
  readonly tried?: readonly number[];
  readonly lostOn?: readonly number[];
}

function run({ require = {}, module = digest(1), entry = "command", tried = [], lostOn = [] }: RunInit = {}): RunView {
  const triedWorkers = [...new Set([...tried, ...lostOn])].map(peerId);
  return { spec: { module, require, entry }, triedWorkers, lostOn: lostOn.map(peerId) };
}

function runs(count: number, init: RunInit = {}): RunView[] {
  return Array.from({ length: count }, () => run(init));
}

/** A round on these workers; which worker got each of the runs that were paired. */
function round(
  policy: PickPolicy,
  workers: readonly WorkerInit[],
  runsToServe: readonly RunView[],
  { random = new SeededRandom(1), turns = new Turns() } = {},
): number[] {
  const pairings = match({ offers: offersOf(workers), runs: runsToServe, policy, random, turns });
  return pairings.map(({ offer }) => indexOf(offer.peer));
}

function indexOf(peer: PeerId): number {
  for (let index = 0; index < 1_000; index++) if (peerId(index) === peer) return index;
  throw new Error(`no such worker: ${peer}`);
}

/** How often each worker comes first in `rounds` rounds of one run. */
function shares(policy: PickPolicy, workers: readonly WorkerInit[], one: RunView, rounds = 4_000): number[] {
  const random = new SeededRandom(42);
  const counts = workers.map(() => 0);
  for (let index = 0; index < rounds; index++) {
    const [worker] = round(policy, workers, [one], { random });
    if (worker !== undefined) counts[worker] = (counts[worker] ?? 0) + 1;
  }
  return counts.map((count) => count / rounds);
}

/** Far past what chance does in thousands of draws, far below what a wrong proportion does. */
function expectShares(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((share, index) => expect(Math.abs(share - (expected[index] ?? 0))).toBeLessThan(0.03));
}

function customKind(name: string): Entry {
  const kind = parseCustomKind(name);
  if (kind === undefined) throw new Error(`${name} is a kind`);
  return kind;
}

const RESIZE = customKind("resize");

describe("match, whatever the policy", () => {
  const require = fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 2, arbitrary: fc.record({ zone: fc.constantFrom("a", "b", "c") }) },
    { weight: 1, arbitrary: fc.record({ gpu: fc.constant("yes"), zone: fc.constantFrom("a", "b") }) },
  );
  const worker = fc.record({
    free: fc.integer({ min: 1, max: 5 }),
    slots: fc.integer({ min: 0, max: 8 }),
    busy: fc.integer({ min: 0, max: 8 }),
    weight: fc.constantFrom(0, 1, 5, 2 ** 32 - 1),
    labels: fc.oneof(
      fc.constant({}),
      fc.record({ zone: fc.constantFrom("a", "b"), gpu: fc.constantFrom("yes", "no") }),
    ),
    kinds: fc.constantFrom<readonly Entry[] | undefined>(undefined, ["command"], [RESIZE], ["run", RESIZE]),
    cachedModules: fc.array(fc.nat({ max: 3 }).map(digest), { maxLength: 3 }),
  });
  const readyRun = fc
    .record({
      require,
      entry: fc.constantFrom<Entry>("command", "run", RESIZE),
      module: fc.nat({ max: 3 }).map(digest),
      tried: fc.array(fc.nat({ max: 5 }), { maxLength: 3 }),
    })
    .map(run);
  const situation = fc.record({
    policy: fc.constantFrom(...PICK_POLICIES),
    offers: fc
      .array(worker, { maxLength: 6 })
      .map(offersOf)
      .chain((offers) => fc.shuffledSubarray(offers, { minLength: offers.length })),
    runs: fc.array(readyRun, { maxLength: 20 }),
    seed: fc.nat(),
  });

  test("gives each run one offer at most, each offer to one run at most, and only where the labels hold and the entry runs", () => {
    fc.assert(
      fc.property(situation, ({ seed, ...rest }) => {
        const pairings = match({ ...rest, random: new SeededRandom(seed), turns: new Turns() });
        expect(new Set(pairings.map((pairing) => pairing.run)).size).toBe(pairings.length);
        expect(new Set(pairings.map((pairing) => pairing.offer)).size).toBe(pairings.length);
        for (const pairing of pairings) {
          expect(rest.runs).toContain(pairing.run);
          expect(rest.offers).toContain(pairing.offer);
          expect(meetsRequirements(pairing.offer.state, pairing.run.spec)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("leaves no run over while an offer that it could take is left over", () => {
    fc.assert(
      fc.property(situation, ({ seed, ...rest }) => {
        const pairings = match({ ...rest, random: new SeededRandom(seed), turns: new Turns() });
        const served = new Set<unknown>(pairings.map((pairing) => pairing.run));
        const taken = new Set<unknown>(pairings.map((pairing) => pairing.offer));
        const left = rest.offers.filter((offer) => !taken.has(offer));
        for (const waiting of rest.runs.filter((candidate) => !served.has(candidate))) {
          expect(left.some((offer) => meetsRequirements(offer.state, waiting.spec))).toBe(false);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("gives a run to a worker that it was tried on only when no other could have taken it", () => {
    fc.assert(
      fc.property(situation, ({ seed, ...rest }) => {
        const pairings = match({ ...rest, random: new SeededRandom(seed), turns: new Turns() });
        const left = new Set<OfferView>(rest.offers);
        for (const { run: served, offer } of pairings) {
          if (served.triedWorkers.includes(offer.peer)) {
            const others = [...left].filter((other) => !served.triedWorkers.includes(other.peer));
            expect(others.some((other) => meetsRequirements(other.state, served.spec))).toBe(false);
          }
          left.delete(offer);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("pairs as many as there are of the fewer, where nothing is required", () => {
    for (const policy of PICK_POLICIES) {
      expect(round(policy, [{ free: 3 }, { free: 4, weight: 0 }], runs(5)).length).toBe(5);
      expect(round(policy, [{ free: 3 }, { free: 4, weight: 0 }], runs(9)).length).toBe(7);
    }
  });

  test("serves the runs in their order, and passes over one that nobody can take", () => {
    const offers = offersOf([{ labels: { zone: "a" }, free: 2 }]);
    const toServe = [run({ require: { zone: "b" } }), run({ require: { zone: "a" } }), run(), run()];
    const turns = new Turns();
    const pairings = match({ offers, runs: toServe, policy: "random", random: new SeededRandom(1), turns });
    expect(pairings.map((pairing) => toServe.indexOf(pairing.run))).toEqual([1, 2]);
  });

  test("takes a worker's offers in the order in which they have waited", () => {
    const offers = offersOf([{ free: 3 }]);
    for (const policy of PICK_POLICIES) {
      const pairings = match({ offers, runs: runs(3), policy, random: new SeededRandom(1), turns: new Turns() });
      expect(pairings.map((pairing) => pairing.offer.number)).toEqual([0, 1, 2]);
    }
  });

  test("takes label names that every object has for labels like others", () => {
    expect(round("random", [{}], [run({ require: { constructor: "x" } })])).toEqual([]);
    expect(round("random", [{ labels: { constructor: "x" } }], [run({ require: { constructor: "x" } })])).toEqual([0]);
  });
});

describe("on uneven workers that are idle, a run goes", () => {
  const workers = [
    { slots: 1, free: 1, weight: 6 },
    { slots: 2, free: 2, weight: 3, cachedModules: [digest(1)] },
    { slots: 5, free: 5, weight: 1 },
  ];
  test.each<[PickPolicy, string, readonly number[]]>([
    ["random", "to each by its free slots", [1 / 8, 2 / 8, 5 / 8]],
    ["least-loaded", "to each alike, as all are empty", [1 / 3, 1 / 3, 1 / 3]],
    ["weighted", "to each by its weight", [6 / 10, 3 / 10, 1 / 10]],
    ["locality", "to the one that has its module", [0, 1, 0]],
  ])("by %s %s", (policy, _, expected) => {
    expectShares(shares(policy, workers, run()), expected);
  });

  test("by round-robin to each in its turn", () => {
    const turns = new Turns();
    const counts = [0, 0, 0];
    for (let each = 0; each < 300; each++) {
      for (const worker of round("round-robin", workers, runs(1), { turns })) {
        counts[worker] = (counts[worker] ?? 0) + 1;
        turns.record(peerId(worker));
      }
    }
    expect(counts).toEqual([100, 100, 100]);
  });

  test.each(PICK_POLICIES)("by %s to fill every slot, where there are as many runs", (policy) => {
    const taken = round(policy, workers, runs(9));
    expect([0, 1, 2].map((index) => taken.filter((worker) => worker === index).length)).toEqual([1, 2, 5]);
  });
});

describe("match by random", () => {
  test("is uniform among offers", () => {
    expectShares(shares("random", [{ free: 1 }, { free: 2 }, { free: 5 }], run()), [1 / 8, 2 / 8, 5 / 8]);
  });

  test("stays uniform among the offers that another set of required labels has left", () => {
    // Three runs that need zone a go before the run that is counted, which then sees 3 + 2 offers.
    const workers = [{ free: 6, labels: { zone: "a" } }, { free: 2 }];
    const random = new SeededRandom(9);
    let firsts = 0;
    for (let index = 0; index < 6_000; index++) {
      const toServe = [run({ require: {} }), ...runs(3, { require: { zone: "a" } }), run({ require: {} })];
      if (round("random", workers, toServe, { random }).at(-1) === 0) firsts++;
    }
    // The first run takes one of 8; the last finds 2 + 2 (after worker 0, 6/8) or 3 + 1 (after worker 1, 2/8).
    expectShares([firsts / 6_000], [(6 / 8) * (2 / 4) + (2 / 8) * (3 / 4)]);
  });

  test("goes to a worker again that has lost it only if it may, and then rather to one on which it failed", () => {
    const once = (lost: RunView, mayRepeat: boolean) => {
      const offers = offersOf([{}, {}]);
      const turns = new Turns();
      const pairings = match({
        offers,
        runs: [lost],
        policy: "random",
        random: new SeededRandom(1),
        turns,
        mayRepeat: () => mayRepeat,
      });
      return pairings.map(({ offer }) => indexOf(offer.peer));
    };
    expect(once(run({ lostOn: [0] }), false)).toEqual([1]);
    expect(once(run({ lostOn: [0], tried: [1] }), false)).toEqual([1]);
    expect(once(run({ lostOn: [0, 1] }), false)).toEqual([]);
    expect(once(run({ lostOn: [0, 1] }), true)).toHaveLength(1);
  });

  test("is uniform among the workers that the run was not tried on", () => {
    expectShares(shares("random", [{ free: 4 }, {}, {}], run({ tried: [0] })), [0, 1 / 2, 1 / 2]);
  });
});

describe("match by round-robin", () => {
  test("goes round the workers, whatever number of slots they have", () => {
    expect(round("round-robin", [{ free: 4 }, { free: 2 }, { free: 4 }], runs(8))).toEqual([0, 1, 2, 0, 1, 2, 0, 2]);
  });

  test("goes on where the last round ended", () => {
    const turns = new Turns();
    const seen: number[] = [];
    for (let index = 0; index < 7; index++) {
      for (const worker of round("round-robin", [{}, {}, {}], runs(1), { turns })) {
        seen.push(worker);
        turns.record(peerId(worker));
      }
    }
    expect(seen).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });

  test("goes round the capable workers evenly, though runs with other requirements come between", () => {
    const [a, b] = [{ zone: "a" }, { zone: "b" }];
    const workers = [
      { free: 4, labels: a },
      { free: 4, labels: a },
      { free: 4, labels: b },
      { free: 4, labels: b },
    ];
    const toServe = Array.from({ length: 8 }, (_, index) => run({ require: index % 2 === 0 ? a : b }));
    expect(round("round-robin", workers, toServe)).toEqual([0, 2, 1, 3, 0, 2, 1, 3]);
  });

  test("notices a worker that was served through other requirements meanwhile", () => {
    const labels = { zone: "a" };
    const workers = [{ free: 3, labels }, { free: 3, labels }, { free: 3 }];
    expect(round("round-robin", workers, [run(), run({ require: labels }), run()])).toEqual([0, 1, 2]);
  });

  test("forgets the worker served longest ago past its limit", () => {
    const turns = new Turns();
    for (let index = 0; index <= TURNS_MAX; index++) turns.record(peerId(index));
    expect([turns.lastTurn(peerId(0)), turns.lastTurn(peerId(1))]).toEqual([0, 2]);
    turns.record(peerId(1));
    turns.record(peerId(TURNS_MAX + 1));
    expect([turns.lastTurn(peerId(1)), turns.lastTurn(peerId(2))]).toEqual([TURNS_MAX + 2, 0]);
  });
});

describe("match by least load", () => {
  test("fills uneven workers to the same part of their slots", () => {
    const workers = [
      { slots: 2, free: 2 },
      { slots: 4, free: 4 },
      { slots: 8, free: 8 },
    ];
    const taken = round("least-loaded", workers, runs(7));
    expect([0, 1, 2].map((index) => taken.filter((worker) => worker === index).length)).toEqual([1, 2, 4]);
  });

  test("counts slots that are not on offer as in use", () => {
    expectShares(
      shares(
        "least-loaded",
        [
          { slots: 4, free: 1 },
          { slots: 4, free: 2 },
        ],
        run(),
      ),
      [0, 1],
    );
  });

  test("takes a worker's word where it says that more are in use", () => {
    expectShares(
      shares(
        "least-loaded",
        [
          { slots: 4, free: 3, busy: 3 },
          { slots: 4, free: 2 },
        ],
        run(),
      ),
      [0, 1],
    );
  });

  test("breaks ties at random", () => {
    expectShares(shares("least-loaded", [{ free: 4 }, { free: 4 }, { free: 4 }], run()), [1 / 3, 1 / 3, 1 / 3]);
  });

  test("takes a worker that claims to have no slots last", () => {
    expect(
      round(
        "least-loaded",
        [
          { slots: 0, busy: 1 },
          { slots: 4, free: 2 },
        ],
        runs(3),
      ),
    ).toEqual([1, 1, 0]);
  });
});

describe("match by weight", () => {
  test("is in proportion to the weights of the workers, not to their slots", () => {
    const workers = [{ weight: 1, free: 4 }, { weight: 2 }, { weight: 5 }];
    expectShares(shares("weighted", workers, run()), [1 / 8, 2 / 8, 5 / 8]);
  });

  test("keeps the proportion among workers that the run was not tried on", () => {
    const workers = [{ weight: 1 }, { weight: 100 }, { weight: 3 }];
    expectShares(shares("weighted", workers, run({ tried: [1] })), [1 / 4, 0, 3 / 4]);
  });

  test("takes workers of weight 0 when nobody else can", () => {
    const workers = [{ weight: 0 }, { weight: 1 }, { weight: 0 }];
    expect(round("weighted", workers, runs(3))[0]).toBe(1);
    expect(new Set(round("weighted", workers, runs(3)))).toEqual(new Set([0, 1, 2]));
  });
});

describe("match by locality", () => {
  test("takes the least loaded worker that has the module, then the least loaded one", () => {
    const cachedModules = [digest(1)];
    const workers = [
      { slots: 4, free: 1, cachedModules },
      { slots: 4, free: 4 },
      { slots: 4, free: 2, cachedModules },
      { slots: 4, free: 3 },
    ];
    expect(round("locality", workers, runs(4))[0]).toBe(2);
    expect(round("locality", workers, runs(3)).reduce((sum, worker) => sum + worker, 0)).toBe(2 + 2 + 0);
    expect(round("locality", workers, runs(4))[3]).toBe(1);
    expect(round("locality", workers, [run({ module: digest(2) })])).toEqual([1]);
  });

  test("requires labels of the workers that have the module too", () => {
    const workers = [{ cachedModules: [digest(1)] }, { labels: { gpu: "yes" } }];
    expect(round("locality", workers, runs(1, { require: { gpu: "yes" } }))).toEqual([1]);
  });

  test("rather fetches the module anew than tries the same worker again", () => {
    const workers = [{ cachedModules: [digest(1)], free: 2 }, {}];
    expect(round("locality", workers, [run({ tried: [0] })])).toEqual([1]);
  });
});
