/**
 * Who runs what: one round of pairing ready runs with waiting offers. A pure function of its input and `random`.
 *
 * Runs are served in the order given (by priority, then due time), each with the offer that the pick policy chooses among
 * those of workers that meet what the run requires: its labels, and what runs it. Workers on which the run was tried before come last; one that
 * has lost the run comes at all only if `mayRepeat` says so. A run that finds no offer is passed over: it waits for no
 * other, and no other waits for it. So the result is greedy, and complete in that no run is left over while an offer it
 * could take is.
 *
 * A worker's state is what it said with its latest offer. An offer is taken from the front of its worker's queue.
 *
 * - `random`: uniform among offers, so that a worker with many free slots gets more.
 * - `round-robin`: the worker that was served longest ago.
 * - `least-loaded`: the worker with the smallest part of its slots in use; ties at random. In use is what is not on offer,
 *   or what the worker says if that is more: its word is as old as its offer.
 * - `weighted`: at random among workers, in proportion to their weights. Weight 0: only when nobody else can.
 * - `locality`: a worker that has the module, the least loaded of them; without one, the least loaded.
 *
 * Near linear in runs plus offers, once for each distinct set of requirements.
 */
import type { Digest, PeerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import type { TaskSpec } from "../model/task.ts";
import {
  type PickPolicy,
  type Requirements,
  type WorkerState,
  meetsRequirements,
  requirementKey,
} from "../model/worker.ts";
import type { TurnsView } from "./turns.ts";
import { OrderedPool, SampledPool, type WorkerPool } from "./worker-pool.ts";

/** An offer as matching sees it. It is identified by the object. */
export interface OfferView {
  readonly peer: PeerId;
  readonly state: WorkerState;
}

/** A run as matching sees it; a `ReadyRun` is one. */
export interface RunView {
  readonly spec: Pick<TaskSpec, "module" | "require" | "entry">;
  readonly triedWorkers: readonly PeerId[];
  /** Those of them that have lost it. */
  readonly lostOn: readonly PeerId[];
}

export interface MatchInput<Offer extends OfferView, Run extends RunView> {
  /** In the order in which they have waited. */
  readonly offers: readonly Offer[];
  /** In the order in which they are to be served. */
  readonly runs: readonly Run[];
  readonly policy: PickPolicy;
  readonly random: Random;
  /** For `round-robin`. */
  readonly turns: TurnsView;
  /** Whether a run may go to a worker again that has lost it. Asked only where no other offer is left. Default: it may. */
  readonly mayRepeat?: ((run: Run) => boolean) | undefined;
}

export interface Pairing<Offer, Run> {
  readonly run: Run;
  readonly offer: Offer;
}

/** Pairs each run with at most one offer, and each offer with at most one run; in the order of the runs. */
export function match<Offer extends OfferView, Run extends RunView>(
  input: MatchInput<Offer, Run>,
): Pairing<Offer, Run>[] {
  const round = new Round(input);
  const pairings: Pairing<Offer, Run>[] = [];
  for (const run of input.runs) {
    if (pairings.length >= input.offers.length) break;
    const offer = round.takeOffer(run, () => input.mayRepeat?.(run) ?? true);
    if (offer !== undefined) pairings.push({ run, offer });
  }
  return pairings;
}

/** One worker in one round. */
class RoundWorker<Offer extends OfferView> {
  readonly state: WorkerState;
  readonly #offers: readonly Offer[];
  readonly #busyAtStart: number;
  #taken = 0;
  lastTurn: number;

  constructor(offers: readonly Offer[], state: WorkerState, lastTurn: number) {
    this.state = state;
    this.#offers = offers;
    this.#busyAtStart = Math.max(state.busy, state.slots - offers.length);
    this.lastTurn = lastTurn;
  }

  get free(): number {
    return this.#offers.length - this.#taken;
  }

  /** The part of its slots in use. A worker that claims to have none is as good as full. */
  get load(): number {
    return (this.#busyAtStart + this.#taken) / Math.max(1, this.state.slots);
  }

  take(): Offer | undefined {
    const offer = this.#offers[this.#taken];
    if (offer !== undefined) this.#taken++;
    return offer;
  }
}

/** The pools to choose from for one set of requirements, made as they are needed. */
interface Choices<Offer extends OfferView> {
  readonly capable: ReadonlySet<RoundWorker<Offer>>;
  /** The first one is asked first. */
  readonly pools: readonly WorkerPool<RoundWorker<Offer>>[];
  /** For `locality`: those that have the module. */
  readonly poolsByModule: Map<Digest, WorkerPool<RoundWorker<Offer>>>;
}

class Round<Offer extends OfferView> {
  readonly #policy: PickPolicy;
  readonly #random: Random;
  readonly #workers: ReadonlyMap<PeerId, RoundWorker<Offer>>;
  readonly #choicesByRequirement = new Map<string, Choices<Offer>>();
  readonly #workersByModule: ReadonlyMap<Digest, readonly RoundWorker<Offer>[]>;
  #nextTurn: number;

  constructor(input: Pick<MatchInput<Offer, RunView>, "offers" | "policy" | "random" | "turns">) {
    this.#policy = input.policy;
    this.#random = input.random;
    this.#nextTurn = input.turns.nextTurn;
    this.#workers = groupByWorker(input.offers, input.turns);
    this.#workersByModule = input.policy === "locality" ? indexByModule(this.#workers.values()) : new Map();
  }

  /** Takes the offer that this run gets; undefined when no capable worker has one left. */
  takeOffer(run: RunView, mayRepeat: () => boolean): Offer | undefined {
    const pools = this.#poolsFor(run);
    const tried = this.#withOffers(run.triedWorkers);
    let worker = pick(pools, tried);
    if (worker === undefined && tried.size > 0) {
      const lostOn = this.#withOffers(run.lostOn);
      if (lostOn.size < tried.size) worker = pick(pools, lostOn);
      if (worker === undefined && lostOn.size > 0 && mayRepeat()) worker = pick(pools, NONE);
    }
    if (worker === undefined) return undefined;
    const offer = worker.worker.take();
    worker.worker.lastTurn = this.#nextTurn++;
    worker.pool.push(worker.worker);
    return offer;
  }

  #withOffers(peers: readonly PeerId[]): ReadonlySet<RoundWorker<Offer>> {
    if (peers.length === 0) return NONE;
    const workers = new Set<RoundWorker<Offer>>();
    for (const peer of peers) {
      const worker = this.#workers.get(peer);
      if (worker !== undefined && worker.free > 0) workers.add(worker);
    }
    return workers;
  }

  #poolsFor(run: RunView): readonly WorkerPool<RoundWorker<Offer>>[] {
    const choices = this.#choicesFor(run.spec);
    if (this.#policy !== "locality") return choices.pools;
    const { module } = run.spec;
    const holders = module && this.#workersByModule.get(module);
    if (module === undefined || holders === undefined) return choices.pools;
    let pool = choices.poolsByModule.get(module);
    if (pool === undefined) {
      pool = this.#byLoad(holders.filter((worker) => choices.capable.has(worker)));
      choices.poolsByModule.set(module, pool);
    }
    return [pool, ...choices.pools];
  }

  #choicesFor(spec: Requirements): Choices<Offer> {
    // More exact than the store's number for it: a worker may have one entry of WebAssembly and no other.
    const key = `${spec.entry} ${requirementKey(spec)}`;
    const known = this.#choicesByRequirement.get(key);
    if (known !== undefined) return known;
    const capable = [...this.#workers.values()].filter((worker) => meetsRequirements(worker.state, spec));
    const pools = this.#poolsOf(capable);
    const choices: Choices<Offer> = { capable: new Set(capable), pools, poolsByModule: new Map() };
    this.#choicesByRequirement.set(key, choices);
    return choices;
  }

  #poolsOf(workers: readonly RoundWorker<Offer>[]): readonly WorkerPool<RoundWorker<Offer>>[] {
    switch (this.#policy) {
      case "random":
        return [new SampledPool(workers, (worker) => worker.free, this.#random)];
      case "weighted":
        return [
          new SampledPool(workers, (worker) => worker.state.weight, this.#random),
          new SampledPool(workers, (worker) => (worker.state.weight === 0 ? 1 : 0), this.#random),
        ];
      case "round-robin":
        return [new OrderedPool(workers, (worker) => worker.lastTurn, orderOf(workers))];
      case "least-loaded":
      case "locality":
        return [this.#byLoad(workers)];
    }
  }

  #byLoad(workers: readonly RoundWorker<Offer>[]): WorkerPool<RoundWorker<Offer>> {
    return new OrderedPool(
      workers,
      (worker) => worker.load,
      () => this.#random.next(),
    );
  }
}

const NONE: ReadonlySet<never> = new Set<never>();

/** The first worker of the first pool that has one not to be avoided, and the pool that it is to be put back into. */
function pick<W extends { readonly free: number }>(
  pools: readonly WorkerPool<W>[],
  avoided: ReadonlySet<W>,
): { readonly worker: W; readonly pool: WorkerPool<W> } | undefined {
  for (const pool of pools) {
    const setAside: W[] = [];
    let worker = pool.pop();
    while (worker !== undefined && avoided.has(worker)) {
      setAside.push(worker);
      worker = pool.pop();
    }
    for (const other of setAside) pool.push(other);
    if (worker !== undefined) return { worker, pool };
  }
  return undefined;
}

function groupByWorker<Offer extends OfferView>(
  offers: readonly Offer[],
  turns: TurnsView,
): ReadonlyMap<PeerId, RoundWorker<Offer>> {
  const workers = new Map<PeerId, RoundWorker<Offer>>();
  for (const [peer, own] of Map.groupBy(offers, (offer) => offer.peer)) {
    const latest = own.at(-1);
    if (latest !== undefined) workers.set(peer, new RoundWorker(own, latest.state, turns.lastTurn(peer)));
  }
  return workers;
}

function indexByModule<Offer extends OfferView>(
  workers: Iterable<RoundWorker<Offer>>,
): ReadonlyMap<Digest, readonly RoundWorker<Offer>[]> {
  const index = new Map<Digest, RoundWorker<Offer>[]>();
  for (const worker of workers) {
    for (const module of new Set(worker.state.cachedModules)) {
      const holders = index.get(module);
      if (holders === undefined) index.set(module, [worker]);
      else holders.push(worker);
    }
  }
  return index;
}

function orderOf<W>(workers: readonly W[]): (worker: W) => number {
  const order = new Map(workers.map((worker, index) => [worker, index]));
  return (worker) => order.get(worker) ?? 0;
}
