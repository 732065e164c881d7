/** What is to happen in one simulation, drawn from its seed: machines, requests, and what goes wrong. */
import type { PeerId, TaskId } from "../../src/base/ids.ts";
import { PICK_POLICIES, type PickPolicy } from "../../src/model/worker.ts";
import { peerId, taskId } from "../store/store-samples.ts";
import { Dice } from "./dice.ts";
import { FAULT_DRAWS, FAULT_KINDS, type FaultKind, faultOf } from "./scenario-faults.ts";
import {
  LONG_GUEST_MS_MAX,
  type Order,
  type OrderContext,
  type RequestAction,
  type Step,
  orderOf,
} from "./scenario-orders.ts";
import { type RetentionPlan, agePlan, withAge } from "./scenario-retention.ts";
import type { LinkInit } from "./sim-link.ts";
import { AFTERMATH_MS } from "./weather.ts";

export interface WorkerPlan {
  readonly peer: PeerId;
  readonly slots: number;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly link: LinkInit;
}

/** All tasks of a second gateway have names that begin so, and no others. */
export const SECOND_PREFIX = "u";

/** What becomes of a second gateway. Times count from the beginning. */
export interface SecondPlan {
  readonly submissions: readonly { readonly atMs: number; readonly order: Order }[];
  /** `durable`: it is killed, and so much of what is on its way to the disk gets there; undefined: it is told to stop. */
  readonly absences: readonly {
    readonly atMs: number;
    readonly downMs: number;
    readonly durable: number | undefined;
  }[];
}

export interface Scenario {
  readonly seed: number;
  readonly policy: PickPolicy;
  readonly workers: readonly WorkerPlan[];
  readonly steps: readonly Step[];
  /** How long what is over is kept. Undefined: longer than anything here. */
  readonly retention: RetentionPlan | undefined;
  /** How tasks come to an end that have none. */
  readonly lastWord: "cancel" | "delete";
  /** Unfinished tasks that the gateway takes. Undefined: more than there are. */
  readonly queuedTasksMax: number | undefined;
  /** A gateway on which workers fall back. */
  readonly second: SecondPlan | undefined;
  /** Workers are let in as they come; otherwise when an operator says so. */
  readonly isOpen: boolean;
}

/** Requests and faults together, of one scenario. */
const STEPS_MIN = 8;
const STEPS_MAX = 26;
/** Of a sequel, and how long the quiet before it is: what was wrong shows no more (`weather.ts`). */
const SEQUEL_STEPS_MAX = 7;
const QUIET_MS = AFTERMATH_MS + 10_000;
const WORKERS_MAX = 3;
const SLOTS_MAX = 3;
const NAMES = ["A", "B", "C"];
const TASK_IDS_MAX = 12;

/** What a scenario is to be like. Default: the seed decides. */
export interface GivenTraits {
  /** The only kinds of faults that happen, and often; empty: none happen. */
  readonly faults?: readonly FaultKind[] | undefined;
  /** Guests outlast a lease, and so does what goes wrong. */
  readonly isLong?: boolean | undefined;
  /** Operators have much to do. */
  readonly isOperated?: boolean | undefined;
  readonly retainMs?: number | undefined;
  readonly queuedTasksMax?: number | undefined;
  /** There are tasks without end. */
  readonly isEndless?: boolean | undefined;
  /** The gateway's machine does not know, at first, what time it is. */
  readonly hasWrongClocks?: boolean | undefined;
}

export function scenarioOf(seed: number, given: GivenTraits = {}): Scenario {
  const dice = new Dice(seed);
  const drawn = 1 + dice.below(WORKERS_MAX);
  const mood = { ...moodOf(dice), ...givenMood(given) };
  const length = Math.max(mood.workersMin, drawn);
  const workers = Array.from({ length }, (_, index) => workerPlan(dice, index));
  const known: TaskId[] = [];
  const count = STEPS_MIN + dice.below(STEPS_MAX - STEPS_MIN + 1);
  const steps = [...stepsOf(dice, { mood, count, workers, known })];
  if (mood.hasSequel) {
    const [first, ...others] = stepsOf(dice, {
      mood: { ...mood, ...CALM },
      count: 1 + dice.below(SEQUEL_STEPS_MAX),
      workers,
      known,
    });
    if (first !== undefined) steps.push({ ...first, waitMs: first.waitMs + QUIET_MS }, ...others);
  }
  const policy = dice.pick(PICK_POLICIES);
  const drawnRetainMs = dice.chance(0.06) ? dice.between(1_000, 30_000) : undefined;
  const drawnQueuedTasksMax = dice.chance(0.06) ? 1 + dice.below(6) : undefined;
  const second = mood.hasSecond ? secondOf(dice, { ...mood, workers, known: [] }, steps) : undefined;
  const isOpen = mood.faultShare === 0 || dice.chance(0.93);
  // What came later to the scenarios is drawn apart, so that the other seeds stay what they are.
  const later = new Dice(seed ^ LATER_SEED);
  const age = agePlan(later, {
    ...given,
    retainMs: given.retainMs ?? drawnRetainMs,
    hasSecond: second !== undefined,
  });
  const queuedTasksMax = given.queuedTasksMax ?? drawnQueuedTasksMax;
  return {
    seed,
    policy,
    workers,
    steps: withAge(later, age, { steps, workers, faults: mood.faults }),
    retention: age.retention,
    lastWord: age.lastWord,
    queuedTasksMax,
    second,
    isOpen,
  };
}

const LATER_SEED = 0x3c6ef372;

interface StepsContext {
  readonly mood: Mood;
  readonly count: number;
  readonly workers: readonly WorkerPlan[];
  /** Ids that were submitted, or will have been by then. Grows. */
  readonly known: TaskId[];
}

function stepsOf(dice: Dice, { mood, count, workers, known }: StepsContext): readonly Step[] {
  const steps: Step[] = [];
  while (steps.length < count) {
    const waitMs = mood.paceMs * -Math.log(1 - dice.random.next());
    if (steps.length > 0 && dice.chance(mood.faultShare)) {
      steps.push({
        waitMs,
        action: faultOf(dice, dice.pick(mood.faults), workers.length, mood.guestMsMax === LONG_GUEST_MS_MAX),
      });
      continue;
    }
    const action = requestOf(dice, { ...mood, workers, known });
    steps.push({ waitMs, action });
    if (action.kind === "batch") known.push(...action.orders.map(({ spec }) => spec.id));
    if (action.kind !== "submit") continue;
    known.push(action.spec.id);
    // While its first guest is likely to run.
    const cancelMs = action.spec.firstDueAt + (mood.guestMsMax / 10) * dice.random.next();
    if (!dice.chance(mood.faultShare === 0 ? 0.4 : 0.1)) continue;
    steps.push({ waitMs: cancelMs, action: { kind: "cancel", task: action.spec.id } });
    if (dice.chance(0.3)) {
      steps.push({ waitMs: mood.guestMsMax * dice.random.next(), action: { kind: "retry", task: action.spec.id } });
    }
  }
  return steps;
}

/**
 * What a scenario is like on the whole. Each has a few kinds of faults only, and guests of one order of magnitude: what
 * many of one kind together do is not found where there is some of everything.
 */
interface Mood {
  /** Of the steps. Some scenarios have none: there nothing may be lost, and nothing late. */
  readonly faultShare: number;
  readonly faults: readonly FaultKind[];
  /** Of the requests: what operators do to workers. */
  readonly operatorShare: number;
  /** After all that, and a while in which nothing happens, comes a time without faults: what they have left behind shows. */
  readonly hasSequel: boolean;
  readonly workersMin: number;
  /** There is a second gateway. */
  readonly hasSecond: boolean;
  /** Mean time between steps. */
  readonly paceMs: number;
  readonly guestMsMax: number;
}

const CALM = { faultShare: 0, faults: [], operatorShare: 0, hasSecond: false };

function moodOf(dice: Dice): Mood {
  const guests = {
    workersMin: 1,
    paceMs: dice.pick([30, 200, 1_000, 2_500]),
    guestMsMax: dice.pick([50, 1_000, 6_000, 20_000]),
  };
  const drawn = dice.random.next();
  if (drawn < CALM_SHARE) return { ...guests, ...CALM, hasSequel: false };
  if (drawn < CALM_SHARE + LONG_SHARE) return longMood(dice);
  if (drawn < CALM_SHARE + LONG_SHARE + SECOND_SHARE) return { ...guests, ...secondMood(dice) };
  const isOperated = drawn > 1 - OPERATED_SHARE;
  const wanted = drawn < CALM_SHARE + LONG_SHARE + SECOND_SHARE + ONE_KIND_SHARE || isOperated ? 1 : 2 + dice.below(4);
  return {
    ...guests,
    faultShare: dice.pick([0.2, 0.4, 0.4, 0.6, 0.6, 0.75]),
    faults: dice.chance(0.05) ? FAULT_KINDS : Array.from({ length: wanted }, () => dice.pick(FAULT_DRAWS)),
    operatorShare: isOperated ? MUCH_OPERATED : dice.pick([0, 0.05]),
    hasSequel: dice.chance(0.3),
    hasSecond: false,
  };
}

/** Of the scenarios: those without faults, those with guests that outlast a lease, those with a second gateway, those with one kind of faults, and those in which operators have much to do. */
const CALM_SHARE = 0.22;
const LONG_SHARE = 0.06;
const SECOND_SHARE = 0.05;
const ONE_KIND_SHARE = 0.25;
const OPERATED_SHARE = 0.08;
/** Of the requests, where operators have much to do. */
const MUCH_OPERATED = 0.4;

/** Few guests, which outlast a lease, and workers that cannot be heard for as long: guests whose run is given to another. */
function longMood(dice: Dice): Mood {
  const others: readonly FaultKind[] = ["pause-worker", "cut", "lag", "drop", "pause-gateway", "drain-worker"];
  const ways = {
    workersMin: WORKERS_MAX,
    faults: ["pause-worker", dice.pick(others)] as const,
    faultShare: 0.5,
    operatorShare: 0,
    hasSequel: false,
    hasSecond: false,
  };
  return { ...ways, paceMs: dice.pick([200, 1_000]), guestMsMax: LONG_GUEST_MS_MAX };
}

/** Gateways that come and go, and workers that go from one to the other. */
function secondMood(dice: Dice) {
  const faults: readonly FaultKind[] = ["kill-gateway", "drain-gateway", "drop", dice.pick(FAULT_DRAWS)];
  return { faults, faultShare: 0.4, operatorShare: 0, hasSequel: false, hasSecond: true };
}

function secondOf(dice: Dice, context: RequestContext, steps: readonly Step[]): SecondPlan {
  const lastsMs = 1_000 + steps.reduce((sum, { waitMs }) => sum + waitMs, 0);
  const submissions = Array.from({ length: 1 + dice.below(5) }, (_, index) => {
    const order = orderOf(dice, taskId(`${SECOND_PREFIX}${index + 1}`), context);
    return { atMs: lastsMs * dice.random.next(), order: { ...order, module: 0 } };
  });
  const absences = Array.from({ length: 1 + dice.below(3) }, () => ({
    atMs: lastsMs * dice.random.next(),
    downMs: dice.between(200, 20_000),
    durable: dice.chance(0.6) ? dice.random.next() : undefined,
  }));
  return { submissions, absences };
}

function givenMood({ faults, isLong, isOperated }: GivenTraits): Partial<Mood> {
  const given = {
    ...(isLong === true && { guestMsMax: LONG_GUEST_MS_MAX, workersMin: WORKERS_MAX }),
    ...(isOperated === true && { operatorShare: MUCH_OPERATED }),
  };
  if (faults === undefined) return given;
  return faults.length === 0 ? { ...given, ...CALM, hasSequel: false } : { ...given, faults, faultShare: 0.6 };
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

interface RequestContext extends OrderContext, Pick<Mood, "operatorShare"> {}

function requestOf(dice: Dice, context: RequestContext): RequestAction {
  const { known, workers } = context;
  const id = taskId(`t${1 + dice.below(TASK_IDS_MAX)}`);
  const late = known.at(-1 - dice.below(3)) ?? id;
  if (dice.chance(0.12)) return { kind: "cancel", task: dice.chance(0.9) ? late : id };
  if (dice.chance(0.12)) return { kind: "delete", task: dice.chance(0.9) ? late : id };
  if (dice.chance(0.12)) return { kind: "retry", task: late };
  if (dice.chance(context.operatorShare)) {
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
