/** One simulation: from a seed to what it broke, with the history that shows it. */
import "./without-finalizers.ts";
import { breaches } from "./checker.ts";
import type { History } from "./history.ts";
import { type GivenTraits, scenarioOf } from "./scenario.ts";
import { type ClusterOptions, SimCluster } from "./sim-cluster.ts";

export interface Simulation {
  readonly history: History;
  /** Empty: all promises held. */
  readonly breaches: readonly string[];
}

export interface SimulateOptions extends ClusterOptions, GivenTraits {}

export async function simulate(seed: number, options: SimulateOptions = {}): Promise<Simulation> {
  const history = await new SimCluster(scenarioOf(seed, options), options).run();
  return { history, breaches: breaches(history) };
}
