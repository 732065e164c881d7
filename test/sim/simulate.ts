/** One simulation: from a seed to what it broke, with the history that shows it. */
import "./without-finalizers.ts";
import { assert } from "../../src/base/errors.ts";
import { check } from "./checker.ts";
import type { History } from "./history.ts";
import { type GivenTraits, scenarioOf } from "./scenario.ts";
import { type ClusterOptions, SimCluster } from "./sim-cluster.ts";
import { Tally } from "./tally.ts";

export interface Simulation {
  readonly history: History;
  /** Of a second gateway, where there is one. */
  readonly second?: History | undefined;
  /** Empty: all promises held. */
  readonly breaches: readonly string[];
  /** What could have been seen broken. */
  readonly tally: Tally;
}

export interface SimulateOptions extends ClusterOptions, GivenTraits {}

export async function simulate(seed: number, options: SimulateOptions = {}): Promise<Simulation> {
  const [history, second] = await new SimCluster(scenarioOf(seed, options), options).run();
  assert(history !== undefined, "there is a gateway");
  const tally = new Tally();
  const breaches = [history, second].flatMap((each) => (each === undefined ? [] : check(each, tally)));
  return { history, second, breaches, tally };
}
