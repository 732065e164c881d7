/** Events as clients are told them, as `schema/client.capnp` lays them out. */
import { EVENTS_PER_PAGE_MAX, LABEL_LENGTH_MAX, REASON_LENGTH_MAX } from "../base/limits.ts";
import { type ClientSession_Events$Results, EventType, type Event as WireEvent } from "../generated/client.ts";
import { checkLength, decodeText, invalidMessage } from "./scalars.ts";

/** Something changed; `reset`: events were missed. States are named as over HTTP. */
export type ClientEvent =
  | { readonly type: "reset" }
  | { readonly type: "task"; readonly task: string; readonly state: string }
  | {
      readonly type: "run";
      readonly task: string;
      readonly run: number;
      /** 0: none yet. */
      readonly attempt: number;
      readonly state: string;
    }
  | {
      readonly type: "attempt";
      readonly task: string;
      readonly run: number;
      readonly attempt: number;
      readonly worker: string;
      readonly state: string;
      readonly reason: string;
    }
  | { readonly type: "worker"; readonly worker: string; readonly status: string };

export interface EventPage {
  readonly events: readonly ClientEvent[];
  /** Names the latest of them. */
  readonly last: string;
}

const TYPES = {
  reset: EventType.RESET,
  task: EventType.TASK,
  run: EventType.RUN,
  attempt: EventType.ATTEMPT,
  worker: EventType.WORKER,
} as const;

export function encodeEvents(wire: ClientSession_Events$Results, { events, last }: EventPage): void {
  const list = wire._initEvents(events.length);
  events.forEach((event, index) => encodeEvent(list.get(index), event));
  wire.last = last;
}

function encodeEvent(wire: WireEvent, event: ClientEvent): void {
  wire.type = TYPES[event.type];
  if ("task" in event) wire.task = event.task;
  if ("run" in event) {
    wire.run = event.run;
    wire.attempt = event.attempt;
  }
  if ("worker" in event) wire.worker = event.worker;
  if ("state" in event) wire.state = event.state;
  if ("status" in event) wire.state = event.status;
  if ("reason" in event) wire.reason = event.reason;
}

export function decodeEvents(wire: ClientSession_Events$Results): EventPage {
  const list = wire.events;
  const count = checkLength(list, EVENTS_PER_PAGE_MAX, "events");
  const events = Array.from({ length: count }, (_, index) => decodeEvent(list.get(index)));
  return { events, last: decodeText(wire.last, LABEL_LENGTH_MAX, "an event's name") };
}

function decodeEvent(wire: WireEvent): ClientEvent {
  const task = decodeText(wire.task, LABEL_LENGTH_MAX, "a task");
  const worker = decodeText(wire.worker, LABEL_LENGTH_MAX, "a worker");
  const state = decodeText(wire.state, LABEL_LENGTH_MAX, "a state");
  const { run, attempt } = wire;
  switch (wire.type) {
    case EventType.RESET:
      return { type: "reset" };
    case EventType.TASK:
      return { type: "task", task, state };
    case EventType.RUN:
      return { type: "run", task, run, attempt, state };
    case EventType.ATTEMPT:
      return {
        type: "attempt",
        task,
        run,
        attempt,
        worker,
        state,
        reason: decodeText(wire.reason, REASON_LENGTH_MAX, "a reason"),
      };
    case EventType.WORKER:
      return { type: "worker", worker, status: state };
    default:
      throw invalidMessage("an event that this version does not know");
  }
}
