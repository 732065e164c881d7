/**
 * The workers of this gateway: those with a session, those that are away and may come back, those that wait to be
 * admitted. What a worker holds is decided by the leases in the store, never by what is remembered here.
 *
 *     stranger ──login──▶ pending ──admit──▶ ready ──drain──▶ draining
 *         └──────login─────────────────────▶   │                 │
 *                                            connection closed, session dropped
 *                                              ▼                 ▼
 *                                     away, while it has attempts ──grace over──▶ gone: its attempts are lost
 *
 * A peer has at most one session: a new login ends the one before, whose offers vanish and whose capabilities fail.
 */
import type { Clock } from "../base/clock.ts";
import { type ClusterError, disconnected, failed, overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { AWAY_GRACE_MS, LEASE_MS, LEASE_RENEW_EVERY_MS, STRANGERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { RunClient } from "../caps/run.ts";
import {
  type HeldAttempt,
  type ResumeVerdict,
  type WorkerSessionTarget,
  serveWorkerSession,
} from "../caps/worker-session.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { WorkerState, WorkerStatus, WorkerView } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import { revocable } from "../rpc/revoke.ts";
import type { Store } from "../store/store.ts";
import type { AttemptSession, Attempts } from "./attempts.ts";
import type { EventHub } from "./events.ts";
import type { WorkerDirectory } from "./services.ts";

export interface WorkerSessionsInit {
  readonly store: Store;
  readonly attempts: Attempts;
  readonly events: EventHub;
  /** A facet of the offer channel for one worker, cut off by the signal. The capability becomes the caller's. */
  readonly offersFor: (worker: PeerId, signal: AbortSignal) => Capability;
  /** Offers of this worker that wait. */
  readonly offerCount: (worker: PeerId) => number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where a peer is, as its transport authenticated it. */
export interface PeerAddress {
  readonly id: PeerId;
  readonly address: string;
}

interface Entry {
  readonly peer: PeerAddress;
  status: WorkerStatus;
  state: WorkerState;
  readonly connectedAt: number;
  lastSeenAt: number;
  note?: string | undefined;
  readonly end: (reason: ClusterError) => void;
}

export class WorkerSessions implements WorkerDirectory {
  readonly #init: WorkerSessionsInit;
  readonly #entries = new Map<PeerId, Entry>();
  #isClosed = false;

  constructor(init: WorkerSessionsInit) {
    this.#init = init;
  }

  list(): readonly WorkerView[] {
    return [...this.#entries.values()].map((entry) => this.#view(entry));
  }

  get(id: PeerId): WorkerView | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : this.#view(entry);
  }

  async admit(id: PeerId): Promise<void> {
    await this.#init.store.setAdmission(id, "admitted", this.#init.clock.now());
    this.#init.log.info("a worker was admitted; it joins when it asks next", { worker: id });
  }

  async forget(id: PeerId): Promise<void> {
    await this.#init.store.setAdmission(id, "barred", this.#init.clock.now());
    const entry = this.#entries.get(id);
    this.#init.log.info("a worker was forgotten and barred", { worker: id });
    if (entry === undefined) return;
    this.#entries.delete(id);
    entry.end(failed("this worker was barred by an operator", { code: "barred" }));
    this.#tell(id, "gone");
    for (const { id: attempt } of await this.#init.store.listRunning(id)) {
      await this.#init.attempts.giveUp(attempt, "its worker was barred", { isBlameless: true });
    }
  }

  /** Shows a peer as waiting to be admitted, until `ended` is aborted or it gets a session. */
  showPending(peer: PeerAddress, state: WorkerState, note: string, ended: AbortSignal): void {
    const known = this.#entries.get(peer.id);
    const now = this.#init.clock.now();
    if (known !== undefined) {
      known.lastSeenAt = now;
      known.state = state;
      return;
    }
    if (this.#entries.size >= STRANGERS_MAX * 8) return;
    const entry: Entry = {
      peer,
      status: "pending",
      state,
      connectedAt: now,
      lastSeenAt: now,
      note,
      end: () => {},
    };
    this.#entries.set(peer.id, entry);
    this.#init.log.warn(note, { worker: peer.id, address: peer.address });
    this.#tell(peer.id, "pending");
    ended.addEventListener("abort", () => this.#remove(entry), { once: true });
  }

  /** Opens the session of an admitted worker, until `ended` is aborted. The capability becomes the caller's. */
  open(peer: PeerAddress, state: WorkerState, ended: AbortSignal): Capability {
    if (this.#isClosed) throw overloaded("the gateway is draining", { code: "draining" });
    const { clock, log } = this.#init;
    this.#entries.get(peer.id)?.end(disconnected("this worker has a newer session", { code: "session-replaced" }));
    const session = new WorkerSession(this.#init, peer.id, {
      onState: (next) => {
        entry.state = next;
        entry.lastSeenAt = clock.now();
      },
      onDrain: () => {
        entry.status = "draining";
        log.info("a worker is draining", { worker: peer.id });
        this.#tell(peer.id, "draining");
      },
      isCurrent: () => this.#entries.get(peer.id) === entry && entry.status !== "away",
      isDraining: () => entry.status === "draining",
      onDropped: () => end(disconnected("the worker dropped its session")),
    });
    using served = serveWorkerSession(session);
    const { capability, revoke } = revocable(served);
    const end = (reason: ClusterError) => {
      ended.removeEventListener("abort", onEnded);
      if (!session.end(reason)) return;
      revoke(reason);
      this.#ended(entry);
    };
    const onEnded = () => end(disconnected("the connection to the worker has ended"));
    const now = clock.now();
    const entry: Entry = { peer, status: "ready", state, connectedAt: now, lastSeenAt: now, end };
    this.#entries.set(peer.id, entry);
    ended.addEventListener("abort", onEnded, { once: true });
    log.info("a worker has joined", { worker: peer.id, address: peer.address, slots: state.slots });
    this.#tell(peer.id, "ready");
    if (ended.aborted) onEnded();
    return capability;
  }

  /** The session through which runs reach this worker now; undefined when it has none. */
  current(worker: PeerId): AttemptSession | undefined {
    const entry = this.#entries.get(worker);
    if (entry === undefined || entry.status === "away" || entry.status === "pending") return undefined;
    const isCurrent = () => this.#entries.get(worker) === entry && entry.status !== "away";
    return { worker, isCurrent };
  }

  /** Ends every session; workers keep their attempts, for the next gateway. */
  close(): void {
    this.#isClosed = true;
    for (const entry of [...this.#entries.values()]) entry.end(disconnected("the gateway is closing"));
    this.#entries.clear();
  }

  #ended(entry: Entry): void {
    const { clock, log } = this.#init;
    const { id } = entry.peer;
    if (this.#entries.get(id) !== entry || this.#isClosed) return;
    const isDraining = entry.status === "draining";
    entry.status = "away";
    log.info("a worker is gone", { worker: id });
    this.#tell(id, "away");
    void this.#init.store.listRunning(id).then(
      (running) => {
        if (running.length === 0) this.#remove(entry);
        else clock.setTimer(AWAY_GRACE_MS, () => void this.#giveUp(entry, isDraining));
      },
      (error: unknown) => log.error("what runs on a worker could not be read", { worker: id, error }),
    );
  }

  /** It did not come back in time. If the store fails here, the leases end by themselves. */
  async #giveUp(entry: Entry, isBlameless: boolean): Promise<void> {
    const { id } = entry.peer;
    if (this.#entries.get(id) !== entry || this.#isClosed) return;
    this.#remove(entry);
    try {
      for (const { id: attempt } of await this.#init.store.listRunning(id)) {
        const seconds = AWAY_GRACE_MS / 1000;
        const reason = `the connection to its worker closed and the worker was not back within ${seconds} s`;
        await this.#init.attempts.giveUp(attempt, reason, { isBlameless });
      }
    } catch (error) {
      this.#init.log.error("the attempts of a worker could not be given up; their leases will end", {
        worker: id,
        error,
      });
    }
  }

  #remove(entry: Entry): void {
    if (this.#entries.get(entry.peer.id) !== entry) return;
    this.#entries.delete(entry.peer.id);
    this.#tell(entry.peer.id, "gone");
  }

  #tell(worker: PeerId, status: WorkerStatus | "gone"): void {
    this.#init.events.publish({ type: "worker", worker, status });
  }

  #view(entry: Entry): WorkerView {
    const { id, address } = entry.peer;
    return {
      id,
      status: entry.status,
      state: entry.state,
      running: this.#init.attempts.countOn(id),
      offers: this.#init.offerCount(id),
      address,
      connectedAt: entry.connectedAt,
      lastSeenAt: entry.lastSeenAt,
      note: entry.note,
    };
  }
}

interface SessionHooks {
  readonly onState: (state: WorkerState) => void;
  readonly onDrain: () => void;
  readonly isCurrent: () => boolean;
  readonly isDraining: () => boolean;
  readonly onDropped: () => void;
}

/** One worker's session: the target of its `WorkerSession` capability. */
class WorkerSession implements WorkerSessionTarget {
  readonly #init: WorkerSessionsInit;
  readonly #worker: PeerId;
  readonly #hooks: SessionHooks;
  readonly #ended = new AbortController();
  #offers = new AbortController();
  #sender: Capability | undefined;
  #hasResumed = false;

  constructor(init: WorkerSessionsInit, worker: PeerId, hooks: SessionHooks) {
    this.#init = init;
    this.#worker = worker;
    this.#hooks = hooks;
  }

  offers() {
    if (!this.#hasResumed) throw failed("call resume first, also with nothing to resume", { code: "resume-first" });
    const signal = AbortSignal.any([this.#ended.signal, this.#offers.signal]);
    this.#sender ??= this.#init.offersFor(this.#worker, signal);
    return { sender: this.#sender, leaseMs: LEASE_MS, renewEveryMs: LEASE_RENEW_EVERY_MS };
  }

  async resume(held: readonly HeldAttempt<RunClient>[]): Promise<readonly ResumeVerdict<Capability>[]> {
    const { store, attempts, clock } = this.#init;
    const running = await store.listRunning(this.#worker);
    await store.renew(
      running.map(({ id }) => id),
      this.#worker,
      clock.now() + LEASE_MS,
    );
    const known = new Map(running.map((attempt) => [attemptKey(attempt.id), attempt]));
    const session: AttemptSession = { worker: this.#worker, isCurrent: this.#hooks.isCurrent };
    const verdicts = held.map(({ id, run, outputOffset }): ResumeVerdict<Capability> => {
      const attempt = known.get(attemptKey(id));
      known.delete(attemptKey(id));
      if (attempt === undefined || !this.#hooks.isCurrent()) {
        run[Symbol.dispose]();
        return { kind: "stop", reason: "the gateway no longer holds this attempt to be alive" };
      }
      attempts.watch(attempt.id, run, session);
      return {
        kind: "adopt",
        output: attempts.output(attempt.id),
        offset: Math.max(attempt.outputBytes, outputOffset),
      };
    });
    for (const { id } of known.values()) {
      await attempts.giveUp(id, "its worker came back without it", { isBlameless: false });
    }
    this.#hasResumed = true;
    return verdicts;
  }

  async renew(ids: readonly AttemptId[], state: WorkerState): Promise<readonly AttemptId[]> {
    this.#hooks.onState(state);
    if (ids.length === 0) return [];
    return this.#init.store.renew(ids, this.#worker, this.#init.clock.now() + LEASE_MS);
  }

  drain(): void {
    if (this.#hooks.isDraining()) return;
    this.#offers.abort(disconnected("the worker is draining"));
    this.#hooks.onDrain();
  }

  /** False: it had ended before. */
  end(reason: ClusterError): boolean {
    if (this.#ended.signal.aborted) return false;
    this.#ended.abort(reason);
    this.#sender?.[Symbol.dispose]();
    return true;
  }

  [Symbol.dispose](): void {
    this.#hooks.onDropped();
  }
}
