/** What is to happen in one simulation, drawn from its seed: machines, requests, and what goes wrong. */
import type { PeerId, TaskId } from "../../src/base/ids.ts";
import { randomIndex } from "../../src/base/random.ts";
import { CATCHUPS } from "../../src/model/schedule.ts";
import { PICK_POLICIES, type PickPolicy } from "../../src/model/worker.ts";
import type { FileReference } from "../../src/model/task-file.ts";
import { RETRYABLE_KINDS, type TaskSpec } from "../../src/model/task.ts";
import { peerId, taskId, taskSpec } from "../store/store-samples.ts";
import type { DiskTrouble } from "../support/memory-store.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { guestFilePath, habitArgs } from "./guest-plan.ts";
import type { LinkInit } from "./sim-link.ts";

export interface WorkerPlan {
  readonly peer: PeerId;
  readonly slots: number;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly link: LinkInit;
}

export type CutKind = "both" | "to-gateway" | "to-worker";

export type Action = RequestAction | FaultAction;

/** `spec.firstDueAt` counts from the moment of the submission. */
export interface Order {
  readonly spec: TaskSpec;
  readonly module: number;
  /** The content of a file that it comes with. */
  readonly input?: Uint8Array | undefined;
  /** A file of a task that it runs after, if that has left one. */
  readonly inputFrom?: FileReference | undefined;
}

export type RequestAction =
  | ({
      readonly kind: "submit";
      /** Its client asks again, with a key and for another id, until it is answered. */
      readonly isRepeated: boolean;
      /** The first answer does not reach it. */
      readonly losesAnswer: boolean;
    } & Order)
  | { readonly kind: "batch"; readonly orders: readonly Order[] }
  | { readonly kind: "cancel" | "delete" | "retry"; readonly task: TaskId }
  | { readonly kind: "operate"; readonly worker: number; readonly what: "drain" | "admit" | "forget" };

export type FaultAction =
  | {
      readonly kind: "kill-gateway";
      /** While a transaction is on its way to the disk. */
      readonly isMidCommit: boolean;
      /** The share of the transactions under way that are durable. */
      readonly durable: number;
      readonly downMs: number;
    }
  | { readonly kind: "drain-gateway"; readonly downMs: number }
  | { readonly kind: "break-store"; readonly durable: number; readonly killAfterMs: number; readonly downMs: number }
  | { readonly kind: "trouble-store"; readonly trouble: DiskTrouble; readonly ms: number }
  /** `backAfterMs`: it is put back again, by as much. */
  | { readonly kind: "jump-clock"; readonly ms: number; readonly backAfterMs?: number }
  | { readonly kind: "pause-gateway"; readonly ms: number }
  | {
      readonly kind: "kill-worker";
      readonly worker: number;
      readonly failsPower: boolean;
      readonly wipesDisk: boolean;
      readonly downMs: number;
    }
  | { readonly kind: "drain-worker"; readonly worker: number; readonly downMs: number }
  | { readonly kind: "pause-worker"; readonly worker: number; readonly ms: number }
  | { readonly kind: "cut"; readonly worker: number; readonly way: CutKind; readonly ms: number }
  | { readonly kind: "fill-disk"; readonly worker: number; readonly ms: number };

export type FaultKind = FaultAction["kind"];

const FAULT_KINDS: readonly FaultKind[] = [
  "kill-gateway",
  "drain-gateway",
  "break-store",
  "trouble-store",
  "jump-clock",
  "pause-gateway",
  "kill-worker",
  "drain-worker",
  "pause-worker",
  "fill-disk",
  "cut",
];

export interface Step {
  /** After the step before. */
  readonly waitMs: number;
  readonly action: Action;
}

export interface Scenario {
  readonly seed: number;
  readonly policy: PickPolicy;
  readonly workers: readonly WorkerPlan[];
  readonly steps: readonly Step[];
  /** How long finished tasks are kept. Undefined: longer than anything here. */
  readonly retainMs: number | undefined;
}

/** Requests and faults together, of one scenario. */
const STEPS_MIN = 8;
const STEPS_MAX = 26;
const WORKERS_MAX = 3;
const SLOTS_MAX = 3;
const NAMES = ["A", "B", "C"];
const TASK_IDS_MAX = 12;
/** How often guests of a task take their runner down, one as likely as the other. */
const CRASHES = [...Array.from({ length: 27 }, () => 0), 0.3, 0.3, 1];

/** Of the jumps of the clock: those that go far ahead, and are taken back. */
const FAR_JUMPS = 0.15;

/** What a scenario is to be like. Default: the seed decides. */
export interface GivenTraits {
  /** The only kinds of faults that happen, and often; empty: none happen. */
  readonly faults?: readonly FaultKind[] | undefined;
  readonly retainMs?: number | undefined;
}

export function scenarioOf(seed: number, { faults, retainMs }: GivenTraits = {}): Scenario {
  const random = new SeededRandom(seed);
  const dice = new Dice(random);
  const workers = Array.from({ length: 1 + dice.below(WORKERS_MAX) }, (_, index) => workerPlan(dice, index));
  const drawn = moodOf(dice);
  const mood = faults === undefined ? drawn : { ...drawn, faults, faultShare: faults.length === 0 ? 0 : 0.6 };
  const steps: Step[] = [];
  const known: TaskId[] = [];
  const count = STEPS_MIN + dice.below(STEPS_MAX - STEPS_MIN + 1);
  while (steps.length < count) {
    const waitMs = mood.paceMs * -Math.log(1 - random.next());
    if (steps.length > 0 && dice.chance(mood.faultShare)) {
      steps.push({ waitMs, action: faultOf(dice, dice.pick(mood.faults), workers.length) });
      continue;
    }
    const action = requestOf(dice, { workers, known, guestMsMax: mood.guestMsMax });
    steps.push({ waitMs, action });
    if (action.kind === "batch") known.push(...action.orders.map(({ spec }) => spec.id));
    if (action.kind !== "submit") continue;
    known.push(action.spec.id);
    // While its first guest is likely to run.
    const cancelMs = action.spec.firstDueAt + (mood.guestMsMax / 10) * random.next();
    if (!dice.chance(mood.faultShare === 0 ? 0.4 : 0.1)) continue;
    steps.push({ waitMs: cancelMs, action: { kind: "cancel", task: action.spec.id } });
    if (dice.chance(0.3)) {
      steps.push({ waitMs: mood.guestMsMax * random.next(), action: { kind: "retry", task: action.spec.id } });
    }
  }
  const policy = dice.pick(PICK_POLICIES);
  const ownRetainMs = dice.chance(0.06) ? dice.between(1_000, 30_000) : undefined;
  return { seed, policy, workers, steps, retainMs: retainMs ?? ownRetainMs };
}

/**
 * What a scenario is like on the whole. Each has a few kinds of faults only, and guests of one order of magnitude: what
 * many of one kind together do is not found where there is some of everything.
 */
interface Mood {
  /** Of the steps. Some scenarios have none: there nothing may be lost. */
  readonly faultShare: number;
  readonly faults: readonly FaultKind[];
  /** Mean time between steps. */
  readonly paceMs: number;
  readonly guestMsMax: number;
}

function moodOf(dice: Dice): Mood {
  const wanted = 1 + dice.below(4);
  return {
    faultShare: dice.pick([0, 0, 0.2, 0.4, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6, 0.75, 0.75, 0.75]),
    faults: Array.from({ length: wanted }, () => dice.pick(FAULT_KINDS)),
    paceMs: dice.pick([30, 200, 1_000, 2_500]),
    guestMsMax: dice.pick([50, 1_000, 6_000, 20_000]),
  };
}

class Dice {
  readonly random: SeededRandom;

  constructor(random: SeededRandom) {
    this.random = random;
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

function workerPlan(dice: Dice, index: number): WorkerPlan {
  const delayMsMin = dice.between(0.1, 20);
  return {
    peer: peerId(NAMES[index] ?? "Z"),
    slots: 1 + dice.below(SLOTS_MAX),
    weight: 1 + dice.below(3),
    labels: { zone: index === 0 ? "a" : "b" },
    link: {
      delayMsMin,
      delayMsMax: delayMsMin * dice.between(1, 10),
      bytesPerMs: dice.chance(0.15) ? dice.between(100, 2_000) : Infinity,
      highWaterBytes: dice.chance(0.2) ? 1_000 : 1_000_000,
      cutsInTen: dice.chance(0.3) ? 1 + dice.below(9) : 0,
    },
  };
}

interface RequestContext {
  readonly workers: readonly WorkerPlan[];
  /** Ids that were submitted, or will have been by then. */
  readonly known: readonly TaskId[];
  readonly guestMsMax: number;
}

function requestOf(dice: Dice, context: RequestContext): RequestAction {
  const { known, workers } = context;
  const id = taskId(`t${1 + dice.below(TASK_IDS_MAX)}`);
  const late = known.at(-1 - dice.below(3)) ?? id;
  if (dice.chance(0.12)) return { kind: "cancel", task: dice.chance(0.9) ? late : id };
  if (dice.chance(0.12)) return { kind: "delete", task: dice.chance(0.9) ? late : id };
  if (dice.chance(0.12)) return { kind: "retry", task: late };
  if (dice.chance(0.05)) {
    const worker = dice.below(workers.length);
    return { kind: "operate", worker, what: dice.pick(["drain", "drain", "admit", "forget"]) };
  }
  if (dice.chance(0.1)) {
    // Each may run after those before it.
    const orders: Order[] = [];
    for (let count = 1 + dice.below(4); count > 0; count -= 1) {
      const before = [...known, ...orders.map(({ spec }) => spec.id)];
      orders.push(orderOf(dice, taskId(`t${1 + dice.below(TASK_IDS_MAX)}`), { ...context, known: before }));
    }
    return { kind: "batch", orders };
  }
  const manner = { isRepeated: dice.chance(0.3), losesAnswer: dice.chance(0.3) };
  return { kind: "submit", ...manner, ...orderOf(dice, id, context) };
}

function orderOf(dice: Dice, id: TaskId, { workers, known, guestMsMax }: RequestContext): Order {
  const isFlaky = dice.chance(0.3);
  const habits = {
    seed: dice.below(1_000_000),
    meanMs: dice.between(guestMsMax / 20, guestMsMax),
    failures: isFlaky ? 0.5 : 0,
    crashes: dice.pick(CRASHES),
    outputBytes: dice.chance(0.05) ? 400_000 : dice.chance(0.6) ? dice.between(1, 3_000) : 0,
    files: dice.chance(0.3) ? 1 + dice.below(3) : 0,
    fileBytes: Math.ceil(dice.chance(0.05) ? 300_000 : dice.between(1, 3_000)),
  };
  const wantsZone = dice.chance(0.15) ? { zone: workers.length > 1 && dice.chance(0.5) ? "b" : "a" } : {};
  const schedule = scheduleOf(dice, known, id);
  const [before] = schedule.after ?? [];
  const spec = taskSpec(id, {
    args: habitArgs(habits),
    ...schedule,
    outputs: habits.files > 0 ? ["out/*"] : [],
    retries: isFlaky ? dice.below(4) : 0,
    backoffMs: dice.between(10, 2_000),
    retryOn: dice.chance(0.8) ? RETRYABLE_KINDS : ["trapped"],
    priority: dice.below(5) - 2,
    require: wantsZone,
    outputBytesMax: dice.chance(0.2) ? Math.ceil(dice.between(1, 2_000)) : 1_000_000,
    outputLimit: dice.chance(0.3) ? "fail" : "truncate",
  });
  return {
    spec,
    module: dice.below(2),
    input: dice.chance(0.15) ? Uint8Array.from({ length: dice.below(2_000) }, (_, at) => at * 3) : undefined,
    inputFrom: before !== undefined && dice.chance(0.5) ? { task: before, path: guestFilePath(0) } : undefined,
  };
}

/** When the task's runs are due. */
function scheduleOf(dice: Dice, known: readonly TaskId[], id: TaskId): Partial<TaskSpec> {
  const overlap = dice.chance(0.25) ? "forbid" : "allow";
  const others = [...new Set(known)].filter((other) => other !== id);
  const after = dice.chance(0.2) ? new Set([others.at(-1 - dice.below(2)), others.at(-1 - dice.below(4))]) : new Set();
  const when = { overlap, after: others.filter((other) => after.has(other)) } as const;
  if (dice.chance(0.12)) {
    const cron = `*/${1 + dice.below(4)} * * * * *`;
    return { ...when, firstDueAt: 0, cron, repeats: 1 + dice.below(6), catchup: dice.pick(CATCHUPS) };
  }
  // Durations of requests are whole milliseconds.
  const startMs = dice.chance(0.5) ? 0 : Math.round(dice.between(10, 6_000));
  return {
    ...when,
    start: startMs / 1_000,
    firstDueAt: startMs,
    repeats: dice.chance(0.4) ? 1 : 1 + dice.below(7),
    delayMs: dice.chance(0.4) ? 0 : dice.between(5, 3_000),
  };
}

function faultOf(dice: Dice, kind: FaultKind, workers: number): FaultAction {
  const worker = dice.below(workers);
  const downMs = dice.between(20, 25_000);
  // Most are about as long as pings, graces and leases are.
  const ms = dice.chance(0.3) ? dice.between(20, 2_000) : dice.between(2_000, 25_000);
  const durable = dice.random.next();
  switch (kind) {
    case "kill-gateway":
      return { kind, isMidCommit: dice.chance(0.7), durable, downMs };
    case "drain-gateway":
      return { kind, downMs };
    case "break-store":
      return { kind, durable, killAfterMs: dice.between(1, 5_000), downMs };
    case "trouble-store":
      return { kind, trouble: dice.pick(["busy", "full"]), ms: dice.between(10, 12_000) };
    case "jump-clock":
      if (dice.chance(FAR_JUMPS))
        return { kind, ms: dice.between(300_000, 1_200_000), backAfterMs: dice.between(200, 8_000) };
      return { kind, ms: (dice.chance(0.5) ? 1 : -1) * dice.between(100, 40_000) };
    case "pause-gateway":
      return { kind, ms };
    case "kill-worker":
      return { kind, worker, failsPower: dice.chance(0.3), wipesDisk: dice.chance(0.2), downMs };
    case "drain-worker":
      return { kind, worker, downMs };
    case "pause-worker":
      return { kind, worker, ms };
    case "fill-disk":
      return { kind, worker, ms: dice.between(100, 8_000) };
    case "cut":
      return { kind, worker, way: dice.pick(["both", "to-gateway", "to-worker"]), ms };
  }
}
