/** One round of matching, large against small: eight times the size should be eight times the work and some. */
import { parseDigest, parsePeerId } from "../../src/base/ids.ts";
import { type MatchInput, type OfferView, type RunView, match } from "../../src/gateway/matching.ts";
import { Turns } from "../../src/gateway/turns.ts";
import { PICK_POLICIES, type PickPolicy } from "../../src/model/worker.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import type { Figure } from "./measure.ts";

const SMALL = 1_000;
const LARGE = 8_000;
const ROUNDS = 5;

export async function benchMatching(): Promise<Figure[]> {
  return PICK_POLICIES.map((policy) => {
    const against = { name: `a round of ${SMALL} × ${SMALL}`, value: bestMs(SMALL, policy) };
    return { name: `matching ${LARGE} × ${LARGE}, ${policy}`, unit: "ms", value: bestMs(LARGE, policy), against };
  });
}

function bestMs(size: number, policy: PickPolicy): number {
  const input = inputOf(size, policy);
  const samples = Array.from({ length: ROUNDS }, () => {
    const startedAt = performance.now();
    match(input);
    return performance.now() - startedAt;
  });
  return Math.min(...samples);
}

/** As many workers, each with one offer, as runs; half of the runs require a label, and each was tried somewhere. */
function inputOf(size: number, policy: PickPolicy): MatchInput<OfferView, RunView> {
  const offers = Array.from({ length: size }, (_, index) => ({
    peer: peer(index),
    state: {
      slots: 2,
      busy: 0,
      weight: 1 + (index % 7),
      labels: { zone: String(index % 10) },
      version: "1",
      cachedModules: Array.from({ length: 8 }, (_unused, module) => digest((index + module) % 500)),
    },
  }));
  const runs = Array.from({ length: size }, (_, index) => ({
    spec: {
      module: digest(index % 500),
      entry: "command" as const,
      require: index % 2 === 0 ? {} : { zone: String(index % 10) },
    },
    triedWorkers: [peer(index)],
    lostOn: [peer(index)],
  }));
  return { offers, runs, policy, random: new SeededRandom(1), turns: new Turns() };
}

function peer(index: number) {
  const id = parsePeerId(String(index).padStart(44, "1").replaceAll("0", "z"));
  if (id === undefined) throw new Error("not a peer id");
  return id;
}

function digest(index: number) {
  const parsed = parseDigest(index.toString(16).padStart(64, "0"));
  if (parsed === undefined) throw new Error("not a digest");
  return parsed;
}
