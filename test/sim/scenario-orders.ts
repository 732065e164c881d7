/** What is asked for in a simulation: tasks, with their schedules, and with guests that do as their arguments say. */
import type { TaskId } from "../../src/base/ids.ts";
import { OUTPUT_IN_MEMORY_BYTES_MAX } from "../../src/base/limits.ts";
import { CATCHUPS } from "../../src/model/schedule.ts";
import type { FileReference } from "../../src/model/task-file.ts";
import { RETRYABLE_KINDS, type TaskSpec } from "../../src/model/task.ts";
import { taskSpec } from "../store/store-samples.ts";
import type { Dice } from "./dice.ts";
import { type GuestHabits, guestFilePath, habitArgs } from "./guest-plan.ts";
import type { FaultAction } from "./scenario-faults.ts";

/** `spec.firstDueAt` counts from the moment of the submission. */
export interface Order {
  readonly spec: TaskSpec;
  readonly module: number;
  /** The content of a file that it comes with. */
  readonly input?: Uint8Array | undefined;
  /** A file of a task that it runs after, if that has left one. */
  readonly inputFrom?: FileReference | undefined;
}

export type Action = RequestAction | FaultAction;

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

export interface Step {
  /** After the step before. */
  readonly waitMs: number;
  readonly action: Action;
}

export interface OrderContext {
  /** How many there are of the machines, the first of which is alone in its zone. */
  readonly workers: readonly unknown[];
  /** Ids that were submitted, or will have been by then. */
  readonly known: readonly TaskId[];
  /** Mean time of the longest guests. */
  readonly guestMsMax: number;
  /** Its runs cost little: there are many of them. */
  readonly isModest?: boolean;
}

/** Mean time of the longest guests, where they are to outlast a lease. */
export const LONG_GUEST_MS_MAX = 40_000;
/** How often guests of a task take their runner down, one as likely as the other. */
const CRASHES = [...Array.from({ length: 27 }, () => 0), 0.3, 0.3, 1];

export function orderOf(dice: Dice, id: TaskId, context: OrderContext): Order {
  const { workers, guestMsMax } = context;
  const isFlaky = dice.chance(0.3);
  const drawn = {
    seed: dice.below(1_000_000),
    meanMs: dice.between(guestMsMax / (guestMsMax === LONG_GUEST_MS_MAX ? 2 : 20), guestMsMax),
    failures: isFlaky ? 0.5 : 0,
    crashes: dice.pick(CRASHES),
    outputBytes: outputBytesOf(dice),
    files: dice.chance(0.3) ? 1 + dice.below(3) : 0,
    fileBytes: Math.ceil(dice.chance(0.05) ? 300_000 : dice.between(1, 3_000)),
  };
  const habits = context.isModest === true ? { ...drawn, ...modest(drawn) } : drawn;
  const wantsZone = dice.chance(0.15) ? { zone: workers.length > 1 && dice.chance(0.5) ? "b" : "a" } : {};
  const schedule = scheduleOf(dice, id, context);
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
    outputBytesMax: dice.chance(0.2) ? Math.ceil(dice.between(1, 2_000)) : 3 * OUTPUT_IN_MEMORY_BYTES_MAX,
    outputLimit: dice.chance(0.3) ? "fail" : "truncate",
  });
  return {
    spec,
    module: dice.below(2),
    input: dice.chance(0.15) ? Uint8Array.from({ length: dice.below(2_000) }, (_, at) => at * 3) : undefined,
    inputFrom: before !== undefined && dice.chance(0.5) ? { task: before, path: guestFilePath(0) } : undefined,
  };
}

function modest({ outputBytes, files, fileBytes }: Pick<GuestHabits, "outputBytes" | "files" | "fileBytes">) {
  return {
    crashes: 0,
    outputBytes: Math.min(outputBytes, MODEST_BYTES),
    files: Math.min(files, 1),
    fileBytes: Math.min(fileBytes, MODEST_BYTES),
  };
}

const MODEST_BYTES = 2_000;

/** Now and then so much that a worker without its gateway cannot keep it in memory. */
function outputBytesOf(dice: Dice): number {
  if (dice.chance(0.015)) return 2.5 * OUTPUT_IN_MEMORY_BYTES_MAX;
  if (dice.chance(0.05)) return 400_000;
  return dice.chance(0.6) ? dice.between(1, 3_000) : 0;
}

/** When the task's runs are due. */
function scheduleOf(dice: Dice, id: TaskId, { known, guestMsMax }: OrderContext): Partial<TaskSpec> {
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
    repeats: dice.chance(0.4) ? 1 : 1 + dice.below(guestMsMax === LONG_GUEST_MS_MAX ? 2 : 7),
    delayMs: dice.chance(0.4) ? 0 : dice.between(5, 3_000),
  };
}
