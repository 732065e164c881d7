/**
 * Age in a simulation: how long what is over is kept, tasks without end, whose runs grow old while they go on, and machines
 * that do not know what time it is. Time is short here, so that all of it is.
 */
import type { TaskId } from "../../src/base/ids.ts";
import type { RetentionPace } from "../../src/gateway/retention.ts";
import { CATCHUPS, OVERLAPS } from "../../src/model/schedule.ts";
import { taskId } from "../store/store-samples.ts";
import type { Dice } from "./dice.ts";
import type { FaultKind } from "./scenario-faults.ts";
import { type Order, type OrderContext, type RequestAction, type Step, orderOf } from "./scenario-orders.ts";

export interface RetentionPlan extends Required<RetentionPace> {
  readonly sweepEveryMs: number;
  readonly clockTrustMs: number;
  readonly clockMarkEveryMs: number;
  /** How long what is over is kept. */
  readonly retainMs: number;
  /** How long a gateway that has just started does not believe its clock. */
  readonly clockTrustedAfterMs: number;
}

export interface AgePlan {
  readonly retention: RetentionPlan | undefined;
  readonly isEndless: boolean;
  readonly hasWrongClocks: boolean;
  readonly lastWord: "cancel" | "delete";
}

interface AgeTraits {
  readonly retainMs: number | undefined;
  readonly isEndless?: boolean | undefined;
  readonly hasWrongClocks?: boolean | undefined;
  /** It would have to be looked at as well, while the first one is away. */
  readonly hasSecond: boolean;
}

const ENDLESS_SHARE = 0.05;
const WRONG_CLOCKS_SHARE = 0.03;
/** Of the scenarios with tasks without end: those in which all of their runs are kept. */
const KEPT_SHARE = 0.1;
const ENDLESS_TASKS_MAX = 2;
/** Starts of a gateway that may not know the time. */
const LIVES_MAX = 5;
/** Guests of tasks without end make room for each other. */
const ENDLESS_GUEST_MS_MAX = 300;

export function agePlan(dice: Dice, { retainMs, hasSecond, ...given }: AgeTraits): AgePlan {
  const [drawnEndless, drawnClocks, isKept] = [ENDLESS_SHARE, WRONG_CLOCKS_SHARE, KEPT_SHARE].map((share) =>
    dice.chance(share),
  );
  const isEndless = !hasSecond && (given.isEndless ?? drawnEndless === true);
  const hasWrongClocks = !hasSecond && (given.hasWrongClocks ?? drawnClocks === true);
  const pace = {
    sweepEveryMs: dice.between(400, 4_000),
    clockTrustMs: dice.between(20_000, 60_000),
    clockMarkEveryMs: dice.between(2_000, 10_000),
  };
  const ownRetainMs = dice.between(2_000, hasWrongClocks ? 40_000 : 12_000);
  const usualMs = hasWrongClocks || (isEndless && isKept !== true) ? ownRetainMs : undefined;
  const clockTrustedAfterMs = hasWrongClocks ? dice.between(20_000, 60_000) : 0;
  const ms = retainMs ?? usualMs;
  return {
    retention: ms === undefined ? undefined : { ...pace, retainMs: ms, clockTrustedAfterMs },
    isEndless,
    hasWrongClocks,
    lastWord: dice.pick(["cancel", "delete"]),
  };
}

interface AgeContext extends Pick<OrderContext, "workers"> {
  readonly steps: readonly Step[];
  readonly faults: readonly FaultKind[];
}

/** The scenario's steps, with what makes its tasks old. */
export function withAge(dice: Dice, plan: AgePlan, context: AgeContext): readonly Step[] {
  const steps = plan.isEndless ? withEndless(dice, plan, context) : context.steps;
  return plan.hasWrongClocks ? [...steps, ...livesOf(dice, plan, context)] : steps;
}

/** Tasks without end come early, and somebody may change his mind about them. */
function withEndless(dice: Dice, plan: AgePlan, { steps, workers, faults }: AgeContext): readonly Step[] {
  const found = [...steps];
  for (let count = 1 + dice.below(ENDLESS_TASKS_MAX); count > 0; count -= 1) {
    const id = taskId(`e${count}`);
    const isJumpy = plan.hasWrongClocks || faults.includes("jump-clock");
    const submit: RequestAction = {
      kind: "submit",
      isRepeated: false,
      losesAnswer: false,
      ...endlessOrder(dice, id, { workers, isJumpy }),
    };
    let at = dice.below(1 + Math.floor(found.length / 3));
    found.splice(at, 0, { waitMs: dice.between(10, 500), action: submit });
    const later = (action: RequestAction, waitMs = dice.between(10, 1_000)): void => {
      at += 1 + dice.below(found.length - at);
      found.splice(at, 0, { waitMs, action });
    };
    if (dice.chance(0.4)) {
      later({ kind: "cancel", task: id });
      if (dice.chance(0.8)) found.splice((at += 1), 0, { waitMs: 200, action: { kind: "retry", task: id } });
    }
    if (dice.chance(0.2)) later({ kind: "delete", task: id });
    // What was deleted comes back, as another task.
    if (dice.chance(0.3)) later(submit);
  }
  return found;
}

interface EndlessContext extends Pick<OrderContext, "workers"> {
  /** Clocks go far ahead: all slots between would be too many to make up for. */
  readonly isJumpy: boolean;
}

function endlessOrder(dice: Dice, id: TaskId, { workers, isJumpy }: EndlessContext): Order {
  const order = orderOf(dice, id, { workers, known: [], guestMsMax: ENDLESS_GUEST_MS_MAX, isModest: true });
  const catchup = dice.pick(CATCHUPS);
  return {
    ...order,
    spec: {
      ...order.spec,
      cron: `*/${2 + dice.below(3)} * * * * *`,
      repeats: 0,
      delayMs: 0,
      start: 0,
      firstDueAt: 0,
      overlap: dice.pick(OVERLAPS),
      catchup: isJumpy && catchup === "all" ? "latest" : catchup,
    },
  };
}

/** One gateway process after the other, some with a clock that is ahead; tasks that are over by then grow old meanwhile. */
function livesOf(dice: Dice, { retention }: AgePlan, { workers }: AgeContext): readonly Step[] {
  const steps: Step[] = [];
  const lifeMsMax = 2 * (retention?.clockTrustMs ?? 0);
  const count = 2 + dice.below(LIVES_MAX - 1);
  for (let life = 1; life <= count; life += 1) {
    const order = orderOf(dice, taskId(`w${life}`), { workers, known: [], guestMsMax: 500, isModest: true });
    const aheadMs = dice.chance(0.6) ? dice.between(100_000, 1_200_000) : 0;
    const restart = {
      kind: "restart-gateway" as const,
      durable: dice.random.next(),
      downMs: dice.between(20, 3_000),
      aheadMs,
      rightAfterMs: aheadMs > 0 && dice.chance(0.4) ? dice.between(1_000, lifeMsMax) : undefined,
    };
    steps.push({
      waitMs: dice.between(10, 2_000),
      action: { kind: "submit", isRepeated: false, losesAnswer: false, ...order },
    });
    steps.push({ waitMs: dice.between(2_000, lifeMsMax), action: restart });
  }
  return steps;
}
