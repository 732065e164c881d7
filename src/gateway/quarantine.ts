/**
 * Workers that fail what others run, and what is done about them: they get no runs but a probe now and then, until one
 * goes well or an operator says so.
 *
 *     trusted ──at fault (worker-tally.ts)──▶ quarantined ──time over──▶ on trial ──a run──▶ probed
 *        ▲                                      ▲   ▲                       ▲               │ │ │
 *        │                                      │   └─lost, for twice as long──────────────┘ │ │
 *        │                                      └─────failed by itself: says nothing─────────┘ │
 *        └──succeeded; an operator's word, from anywhere───────────────────────────────────────┘
 *
 * An attempt that goes wrong is a suspicion at first. It becomes a fault when another worker does better: when the run,
 * lost here, comes to an end of its own there; failed here, succeeds there; or when a module that was rejected here runs
 * there. A probe that nobody is to blame for leaves the worker on trial.
 *
 * All of it is in memory: a gateway that starts again has to find out anew.
 */
import type { Clock } from "../base/clock.ts";
import type { Digest, PeerId } from "../base/ids.ts";
import {
  FAULTS_PER_WORKER_MAX,
  QUARANTINE_FIRST_MS,
  QUARANTINE_FORGET_MS,
  QUARANTINE_MAX_MS,
  QUARANTINE_WINDOW_MS,
  SUSPICIONS_MAX,
  SUSPICIONS_PER_RUN_MAX,
  WORKER_RECORDS_MAX,
} from "../base/limits.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import { type Fault, type WorkerTally, isAtFault } from "./worker-tally.ts";

/**
 * What an attempt's end says about its worker.
 * - `succeeded`, `failed`: the guest came to an end of its own.
 * - `rejected`: the worker would not run the module.
 * - `lost`: the worker, or a runner, went away under it, gave it back, or never told of its end.
 * - `nothing`: it was cancelled, drained, or cut off by the gateway.
 */
export type WorkerSign = "succeeded" | "failed" | "rejected" | "lost" | "nothing";

export interface EndedAttempt {
  readonly id: AttemptId;
  readonly worker: PeerId;
  /** Undefined where it is not known any more. */
  readonly module?: Digest | undefined;
  readonly sign: WorkerSign;
  /** For people. */
  readonly what: string;
  /** The worker was silent: all that it loses at about this time has one cause. */
  readonly isSilence?: boolean | undefined;
}

export interface QuarantineInit {
  readonly clock: Clock;
  /** A worker was put into quarantine, is on trial, or is trusted again. */
  readonly onChange: (worker: PeerId) => void;
}

export type Standing = "trusted" | "quarantined" | "on-trial" | "probed";

export interface QuarantineView {
  readonly standing: Exclude<Standing, "trusted">;
  readonly reason: string;
  /** Until it may have a probe; 0 when it may have one now, or has it. */
  readonly probeInMs: number;
}

interface Suspicion {
  readonly worker: PeerId;
  readonly sign: "failed" | "lost" | "rejected";
  readonly fault: Fault;
}

interface WorkerRecord {
  standing: Standing;
  reason: string;
  /** By the monotonic clock, as all times here. */
  untilMs: number;
  /** In a row, without a long time of trust between. */
  times: number;
  trustedSinceMs: number;
  probe: string | undefined;
  faults: Fault[];
  /** Of this part of the window, and of the one before. */
  successes: readonly [current: number, earlier: number];
  partBeganMs: number;
}

/** What one worker loses within this time, being silent, has one cause. */
const SILENCE_MS = 30_000;
/** A guest that fails here and succeeds there may do so by chance. */
const FAILED_WEIGHT = 0.5;

export class Quarantine {
  readonly #init: QuarantineInit;
  /** The one that has been known longest comes first. */
  readonly #records = new Map<PeerId, WorkerRecord>();
  /** By run, or by module. The oldest come first. */
  readonly #suspicions = new Map<string, Suspicion[]>();
  /** Two workers at most on which a module has run. The ones that ran longest ago come first. */
  readonly #ranOn = new Map<Digest, readonly PeerId[]>();

  constructor(init: QuarantineInit) {
    this.#init = init;
  }

  standing(worker: PeerId): Standing {
    const record = this.#records.get(worker);
    if (record === undefined) return "trusted";
    if (record.standing === "quarantined" && this.#nowMs() >= record.untilMs) record.standing = "on-trial";
    return record.standing;
  }

  /** Undefined: it is trusted. */
  view(worker: PeerId): QuarantineView | undefined {
    const standing = this.standing(worker);
    const record = this.#records.get(worker);
    if (standing === "trusted" || record === undefined) return undefined;
    return { standing, reason: record.reason, probeInMs: Math.max(0, record.untilMs - this.#nowMs()) };
  }

  /**
   * How long until the first of those in quarantine may have a probe; undefined when none waited for that at `sinceMs` (by
   * the monotonic clock). Not above 0 for one that may have it since then.
   */
  nextTrialInMs(sinceMs = this.#nowMs()): number | undefined {
    let next: number | undefined;
    for (const { standing, untilMs } of this.#records.values()) {
      const leftMs = untilMs - this.#nowMs();
      const waits = (standing === "quarantined" || standing === "on-trial") && untilMs > sinceMs;
      if (waits && (next === undefined || leftMs < next)) next = leftMs;
    }
    return next;
  }

  /** The worker gets this attempt. On trial, it gets no other before this one has ended. */
  began(id: AttemptId, worker: PeerId): void {
    const record = this.#records.get(worker);
    if (record === undefined || this.standing(worker) !== "on-trial") return;
    record.standing = "probed";
    record.probe = attemptKey(id);
  }

  ended(end: EndedAttempt): void {
    const { id, worker, module, sign } = end;
    const record = this.#record(worker);
    const run = `${id.serial}/${id.run}`;
    if (sign === "succeeded") record.successes = [record.successes[0] + 1, record.successes[1]];
    if (sign === "succeeded" || sign === "failed") {
      this.#clear(run, worker, sign === "succeeded" ? ["lost", "failed"] : ["lost"]);
      if (module !== undefined) this.#ran(module, worker);
    }
    if (sign === "failed" || sign === "lost") this.#suspect(run, sign, end);
    if (sign === "rejected" && module !== undefined) this.#onRejected(module, end);
    if (record.standing === "probed" && record.probe === attemptKey(id)) this.#onProbed(worker, record, sign);
  }

  /** An operator trusts it. False: it was trusted already. */
  lift(worker: PeerId): boolean {
    const record = this.#records.get(worker);
    if (record === undefined || record.standing === "trusted") return false;
    record.times = 0;
    this.#trust(worker, record);
    return true;
  }

  #onProbed(worker: PeerId, record: WorkerRecord, sign: WorkerSign): void {
    record.probe = undefined;
    switch (sign) {
      case "succeeded":
        this.#trust(worker, record);
        return;
      case "nothing":
        record.standing = "on-trial";
        break;
      case "lost":
        record.times++;
        this.#confine(record);
        break;
      case "failed":
      case "rejected":
        this.#confine(record);
    }
    this.#init.onChange(worker);
  }

  #trust(worker: PeerId, record: WorkerRecord): void {
    record.standing = "trusted";
    record.trustedSinceMs = this.#nowMs();
    record.probe = undefined;
    record.faults = [];
    this.#init.onChange(worker);
  }

  #confine(record: WorkerRecord): void {
    record.standing = "quarantined";
    record.untilMs = this.#nowMs() + Math.min(QUARANTINE_MAX_MS, QUARANTINE_FIRST_MS * 2 ** (record.times - 1));
  }

  #suspect(key: string, sign: Suspicion["sign"], end: EndedAttempt): void {
    const suspicions = this.#suspicions.get(key) ?? [];
    if (suspicions.length >= SUSPICIONS_PER_RUN_MAX) suspicions.shift();
    suspicions.push({ worker: end.worker, sign, fault: this.#faultOf(end) });
    this.#suspicions.delete(key);
    this.#suspicions.set(key, suspicions);
    if (this.#suspicions.size > SUSPICIONS_MAX) dropFirst(this.#suspicions);
  }

  /** What was suspected of others is their fault: it went well here. What was suspected of this worker is forgotten. */
  #clear(key: string, worker: PeerId, signs: readonly Suspicion["sign"][]): void {
    const suspicions = this.#suspicions.get(key);
    if (suspicions === undefined) return;
    const left = suspicions.filter((each) => !signs.includes(each.sign));
    if (left.length === 0) this.#suspicions.delete(key);
    else this.#suspicions.set(key, left);
    for (const each of suspicions) {
      if (signs.includes(each.sign) && each.worker !== worker) this.#blame(each.worker, each.fault);
    }
  }

  #ran(module: Digest, worker: PeerId): void {
    const others = this.#ranOn.get(module)?.filter((each) => each !== worker) ?? [];
    this.#ranOn.delete(module);
    this.#ranOn.set(module, [worker, ...others.slice(0, 1)]);
    if (this.#ranOn.size > SUSPICIONS_MAX) dropFirst(this.#ranOn);
    this.#clear(module, worker, ["rejected"]);
  }

  #onRejected(module: Digest, end: EndedAttempt): void {
    const ranElsewhere = this.#ranOn.get(module)?.some((each) => each !== end.worker) ?? false;
    if (ranElsewhere) this.#blame(end.worker, this.#faultOf(end));
    else this.#suspect(module, "rejected", end);
  }

  #faultOf({ id, worker, sign, what, isSilence = false }: EndedAttempt): Fault {
    const atMs = this.#nowMs();
    const incident = isSilence ? `${worker} silent ${Math.floor(atMs / SILENCE_MS)}` : `${id.serial}/${id.run}`;
    return { incident, atMs, weight: sign === "failed" ? FAILED_WEIGHT : 1, what };
  }

  #blame(worker: PeerId, fault: Fault): void {
    const record = this.#record(worker);
    record.faults = [...record.faults, fault].slice(-FAULTS_PER_WORKER_MAX);
    if (record.standing !== "trusted") return;
    const others = [...this.#records].filter(([peer]) => peer !== worker).map(([, each]) => this.#tally(each));
    if (!isAtFault(this.#tally(record), others)) return;
    if (this.#nowMs() - record.trustedSinceMs > QUARANTINE_FORGET_MS) record.times = 0;
    record.reason = `${record.faults.length} of its attempts went wrong that other workers carried out; the last: ${fault.what}`;
    record.times++;
    this.#confine(record);
    this.#init.onChange(worker);
  }

  #tally(record: WorkerRecord): WorkerTally {
    this.#moveWindow(record);
    return { successes: record.successes[0] + record.successes[1], faults: record.faults };
  }

  #moveWindow(record: WorkerRecord): void {
    const nowMs = this.#nowMs();
    record.faults = record.faults.filter(({ atMs }) => nowMs - atMs <= QUARANTINE_WINDOW_MS);
    const parts = Math.floor((nowMs - record.partBeganMs) / (QUARANTINE_WINDOW_MS / 2));
    if (parts === 0) return;
    record.successes = [0, parts === 1 ? record.successes[0] : 0];
    record.partBeganMs = nowMs;
  }

  #record(worker: PeerId): WorkerRecord {
    const known = this.#records.get(worker);
    if (known !== undefined) {
      this.#moveWindow(known);
      return known;
    }
    const nowMs = this.#nowMs();
    const record: WorkerRecord = {
      standing: "trusted",
      reason: "",
      untilMs: 0,
      times: 0,
      trustedSinceMs: nowMs,
      probe: undefined,
      faults: [],
      successes: [0, 0],
      partBeganMs: nowMs,
    };
    this.#records.set(worker, record);
    if (this.#records.size > WORKER_RECORDS_MAX) dropFirst(this.#records);
    return record;
  }

  #nowMs(): number {
    return this.#init.clock.monotonicMs();
  }
}

function dropFirst(map: Map<unknown, unknown>): void {
  const first = map.keys().next();
  if (first.done !== true) map.delete(first.value);
}
