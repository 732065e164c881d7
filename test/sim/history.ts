/**
 * What happened in a simulation, as an outside observer who sees everything saw it: what was asked of the gateway and what
 * it answered, what became durable, which guests ran when, what went wrong. The checker reads nothing else.
 */
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { AttemptId, AttemptState, RunState } from "../../src/model/run.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import type { LogPiece, TaskRow } from "../support/memory-store-state.ts";
import type { RetentionPlan } from "./scenario-retention.ts";

/** `atMs`: simulated time since the beginning. */
export type HistoryEvent = { readonly atMs: number } & (
  | ClientEvent
  | DurableEvent
  | GuestEvent
  | { readonly kind: "told"; readonly event: ClusterEvent }
  /** Something goes wrong, and is mended; what a clock does is over at once. */
  | {
      readonly kind: "fault" | "mended";
      readonly what: string;
      /** The one that it befalls. Undefined: the gateway. */
      readonly worker?: PeerId | undefined;
    }
  /** The gateway's process begins, and ends. */
  | { readonly kind: "gateway-began" | "gateway-ended" }
  /** Of the gateway's machine: so much its clock is ahead from now on. */
  | { readonly kind: "clock-set"; readonly offsetMs: number }
  /** The worker's process is killed. */
  | { readonly kind: "died"; readonly worker: PeerId }
  /** The worker's process gets no time, from here to there. */
  | { readonly kind: "paused" | "resumed"; readonly worker: PeerId }
  | StopEvent
  /** Nothing goes wrong any more. */
  | { readonly kind: "calm" }
  | Complaint
);

/** A process that was told to stop has ended by itself, after so much time that it had. */
export interface StopEvent {
  readonly kind: "stopped";
  readonly process: string;
  readonly tookMs: number;
}

/** An internal error that no peer and no fault may cause. */
export interface Complaint {
  readonly kind: "complaint";
  readonly message: string;
}

export type EventWithoutTime<Event = HistoryEvent> = Event extends HistoryEvent ? Omit<Event, "atMs"> : never;

/** `answer` is how it was answered; an answer that never came has no event. */
export type ClientEvent =
  /** `key`: by which the gateway is to know it again. */
  | { readonly kind: "submit-asked"; readonly spec: TaskSpec; readonly key?: string | undefined }
  | {
      readonly kind: "submit-answered";
      readonly task: TaskId;
      readonly answer: string;
      /** Of the task that was made, now or by the same submission before. */
      readonly serial?: number | undefined;
      readonly key?: string | undefined;
    }
  | { readonly kind: "batch-asked"; readonly batch: number; readonly specs: readonly TaskSpec[] }
  | { readonly kind: "batch-answered"; readonly batch: number; readonly answer: string }
  | { readonly kind: "operator-asked"; readonly what: "drain" | "admit" | "forget"; readonly worker: PeerId }
  | { readonly kind: "cancel-asked" | "delete-asked" | "retry-asked"; readonly task: TaskId }
  | {
      readonly kind: "cancel-answered" | "delete-answered" | "retry-answered";
      readonly task: TaskId;
      readonly answer: string;
    };

/** What became durable. `wallMs` is the wall clock of the gateway's machine. */
export type DurableEvent =
  | {
      readonly kind: "task-made";
      readonly task: TaskId;
      readonly serial: number;
      readonly spec: TaskSpec;
      readonly createdAt: number;
      /** Tasks that it runs after, by their serials. */
      readonly after: readonly number[];
      /** All of one transaction have the same. */
      readonly transaction: number;
    }
  /** `task-retried`: it was over, and is not any more. */
  | {
      readonly kind: "task-cancelled" | "task-retried";
      readonly task: TaskId;
      readonly serial: number;
      readonly wallMs: number;
    }
  /** `finishedAt`: as it is in the store. */
  | { readonly kind: "task-finished"; readonly task: TaskId; readonly serial: number; readonly finishedAt: number }
  | {
      readonly kind: "task-deleted";
      readonly task: TaskId;
      readonly serial: number;
      /** Since it was over, by the wall clock. Undefined: it was not. */
      readonly ageMs: number | undefined;
      readonly wallMs: number;
    }
  /** The first run that was not forgotten is another. */
  | {
      readonly kind: "runs-forgotten";
      readonly task: TaskId;
      readonly serial: number;
      readonly from: number;
      readonly to: number;
      /** Of each of those between, when it was due or over, whichever was last, as it was in the store. */
      readonly endedAt: readonly number[];
      readonly wallMs: number;
    }
  /** By an operator. */
  | { readonly kind: "worker-drained" | "worker-admitted"; readonly worker: PeerId }
  | {
      readonly kind: "run-moved";
      readonly task: TaskId;
      readonly serial: number;
      readonly run: number;
      /** Undefined: the row was just made. */
      readonly from: RunState | undefined;
      readonly to: RunState;
      /** Attempts begun so far. */
      readonly attempt: number;
      readonly dueAt: number;
      /** Of the task: when its first run is due. */
      readonly firstDueAt: number;
      readonly wallMs: number;
      /** That has or had the latest attempt. */
      readonly worker: PeerId | undefined;
      /** What became of the attempt that was under way. */
      readonly attemptState?: AttemptState | undefined;
      readonly attemptOutcome?: Outcome | undefined;
      /** How many lost attempts are held against the run. */
      readonly blamed: number;
    };

export type GuestEvent =
  | {
      readonly kind: "guest-began";
      readonly worker: PeerId;
      readonly id: AttemptId;
      /** What it finds in its folder. */
      readonly files: readonly FileContent[];
    }
  /** `outcome`: how it ended by itself; undefined when it was killed. */
  | {
      readonly kind: "guest-ended";
      readonly worker: PeerId;
      readonly id: AttemptId;
      readonly outcome?: Outcome | undefined;
    };

/** What a worker is, and stays. */
export interface KnownWorker {
  readonly peer: PeerId;
  readonly slots: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Its link takes its time for what is large. */
  readonly isSlow: boolean;
  /** The longest that anything takes from end to end over its link. */
  readonly delayMsMax: number;
}

export interface History {
  readonly seed: number;
  readonly workers: readonly KnownWorker[];
  /** How long what is over was to be kept, if it was to be forgotten. */
  readonly retention: RetentionPlan | undefined;
  /** Unfinished tasks that the gateway was to take, if there was a limit to them. */
  readonly queuedTasksMax: number | undefined;
  readonly events: readonly HistoryEvent[];
  /** What the store holds at the end. */
  readonly tasks: readonly TaskRow[];
  /** Blobs that the gateway's machine has at the end. */
  readonly blobs: ReadonlySet<Digest>;
  /** What there was while it was in use, and what was still to be forgotten. */
  readonly looks: readonly StoreLook[];
  /** What was left where nothing should be: entries of tables, timers, slots, files. */
  readonly leaks: readonly string[];
}

/** What the store held at one moment, and the blobs of its machine. */
export type StoreLook = Pick<History, "tasks" | "blobs">;

/** The log of a run, as the store has it. */
export function logPieces(task: TaskRow, run: number): readonly LogPiece[] {
  const log = task.runs[run - 1]?.log;
  return log === undefined ? [] : log.pieces.slice(0, log.count);
}
