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
 * A peer has at most one session: a new login ends the one before, whose offers vanish and whose capabilities fail. Its
 * attempts stay its own, until the new session says which of them the worker still has.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { type ClusterError, assert, disconnected, failed, overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { AWAY_GRACE_MS, BARRED_REMEMBERED_MAX, LEASE_MS, LEASE_RENEW_EVERY_MS } from "../base/limits.ts";
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
import type { RunningAttempt, Store } from "../store/store.ts";
import type { AttemptSession, Attempts } from "./attempts.ts";
import type { EventHub } from "./events.ts";
import type { WorkerDirectory } from "./services.ts";
import { storeTrouble } from "./store-trouble.ts";

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
  readonly note?: string | undefined;
  /** The session as its attempts see it; none of a pending peer. */
  readonly session?: AttemptSession | undefined;
  /** While it is away: the end of its grace. */
  graceTimer?: Timer | undefined;
  readonly end: (reason: ClusterError) => void;
}

export interface OpenOptions {
  /** The session has ended, though its connection may go on, and the gateway does. */
  readonly onEnded?: (() => void) | undefined;
}

export class WorkerSessions implements WorkerDirectory {
  readonly #init: WorkerSessionsInit;
  readonly #entries = new Map<PeerId, Entry>();
  /** Barred of late. The store knows all of them; a login may have asked it just before. */
  readonly #barred = new Set<PeerId>();
  /** Attempts that began before were cut off by an earlier gateway's end, which is nobody's fault. */
  readonly #startedAt: number;
  #isClosed = false;

  constructor(init: WorkerSessionsInit) {
    this.#init = init;
    this.#startedAt = init.clock.now();
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
    this.#barred.delete(id);
    this.#init.log.info("a worker was admitted; it joins when it asks next", { worker: id });
  }

  async forget(id: PeerId): Promise<void> {
    await this.#init.store.setAdmission(id, "barred", this.#init.clock.now());
    this.#remember(id);
    const entry = this.#entries.get(id);
    this.#init.log.info("a worker was forgotten and barred", { worker: id });
    if (entry !== undefined) {
      this.#remove(entry);
      entry.end(failed("this worker was barred by an operator", { code: "barred" }));
    }
    // Also when it has no session now: it may be away, or not back yet after a restart of the gateway.
    const running = await this.#init.store.listRunning(id);
    const reason = "its worker was barred";
    await Promise.all(running.map((attempt) => this.#init.attempts.giveUp(attempt, reason, { isBlameless: true })));
  }

  /** Whether an operator has barred this peer, as the store has it. */
  async isBarred(id: PeerId): Promise<boolean> {
    return (await this.#init.store.getAdmission(id)) === "barred";
  }

  /** Shows a peer as waiting to be admitted, until `ended` is aborted or it gets a session. */
  showPending(peer: PeerAddress, state: WorkerState, note: string, ended: AbortSignal): void {
    const known = this.#entries.get(peer.id);
    const now = this.#init.clock.now();
    if (known !== undefined) {
      if (known.status !== "pending") return;
      known.lastSeenAt = now;
      known.state = state;
      return;
    }
    if (this.#isClosed || ended.aborted || this.#barred.has(peer.id)) return;
    const entry: Entry = { peer, status: "pending", state, connectedAt: now, lastSeenAt: now, note, end: () => {} };
    this.#entries.set(peer.id, entry);
    this.#init.log.warn(note, { worker: peer.id, address: peer.address });
    this.#tell(peer.id, "pending");
    ended.addEventListener("abort", () => this.#remove(entry), { once: true });
  }

  /**
   * Opens the session of an admitted worker, until `ended` is aborted. The capability becomes the caller's. Throws
   * `overloaded` when the gateway is closing, and `failed`, code `barred`, when the peer was barred while it was let in.
   */
  open(peer: PeerAddress, state: WorkerState, ended: AbortSignal, { onEnded }: OpenOptions = {}): Capability {
    if (this.#isClosed) throw overloaded("the gateway is closing", { code: "draining" });
    if (this.#barred.has(peer.id)) throw failed("this worker was barred by an operator", { code: "barred" });
    const { clock, log } = this.#init;
    let isDraining = false;
    const attemptSession: AttemptSession = {
      worker: peer.id,
      isCurrent: () => this.#entries.get(peer.id) === entry && entry.status !== "away",
      isDraining: () => isDraining,
    };
    const session = new WorkerSession(this.#init, attemptSession, this.#startedAt, {
      onState: (next) => {
        entry.state = next;
        entry.lastSeenAt = clock.now();
      },
      onDrain: () => {
        isDraining = true;
        entry.status = "draining";
        log.info("a worker is draining", { worker: peer.id });
        this.#tell(peer.id, "draining");
      },
      onDropped: () => end(disconnected("the worker dropped its session")),
    });
    using served = serveWorkerSession(session);
    const { capability, revoke } = revocable(served);
    const end = (reason: ClusterError) => {
      ended.removeEventListener("abort", onConnectionEnded);
      if (!session.end(reason)) return;
      revoke(reason);
      this.#ended(entry);
      if (!this.#isClosed) onEnded?.();
    };
    const onConnectionEnded = () => end(disconnected("the connection to the worker has ended"));
    const now = clock.now();
    const entry: Entry = {
      peer,
      status: "ready",
      state,
      connectedAt: now,
      lastSeenAt: now,
      session: attemptSession,
      end,
    };
    const earlier = this.#entries.get(peer.id);
    this.#entries.set(peer.id, entry);
    earlier?.graceTimer?.[Symbol.dispose]();
    earlier?.end(disconnected("this worker has a newer session", { code: "session-replaced" }));
    ended.addEventListener("abort", onConnectionEnded, { once: true });
    log.info("a worker has joined", { worker: peer.id, address: peer.address, slots: state.slots });
    this.#tell(peer.id, "ready");
    if (ended.aborted) onConnectionEnded();
    return capability;
  }

  /** The session through which runs reach this worker now; undefined when it has none. */
  current(worker: PeerId): AttemptSession | undefined {
    const session = this.#entries.get(worker)?.session;
    return session?.isCurrent() === true ? session : undefined;
  }

  /** Ends every session; workers keep their attempts, for the next gateway. */
  close(): void {
    this.#isClosed = true;
    for (const entry of this.#entries.values()) {
      entry.graceTimer?.[Symbol.dispose]();
      entry.end(disconnected("the gateway is closing"));
    }
    this.#entries.clear();
  }

  #ended(entry: Entry): void {
    const { clock, log, store } = this.#init;
    const { id } = entry.peer;
    if (this.#entries.get(id) !== entry || this.#isClosed) return;
    entry.status = "away";
    log.info("a worker is gone", { worker: id });
    this.#tell(id, "away");
    entry.graceTimer = clock.setTimer(AWAY_GRACE_MS, () => void this.#giveUp(entry));
    store.listRunning(id).then(
      (running) => {
        if (running.length === 0) this.#remove(entry);
      },
      (error: unknown) => log.error("what runs on a worker could not be read", { worker: id, error }),
    );
  }

  /** It did not come back in time. If the store fails here, the leases end by themselves. */
  async #giveUp(entry: Entry): Promise<void> {
    const { id } = entry.peer;
    const { store, attempts, log } = this.#init;
    this.#remove(entry);
    try {
      const running = await store.listRunning(id);
      // It may have come back just now: then it says itself what it still has.
      if (this.#isClosed || this.current(id) !== undefined) return;
      const seconds = AWAY_GRACE_MS / 1000;
      const reason = `the connection to its worker closed and the worker was not back within ${seconds} s`;
      const isBlameless = entry.session?.isDraining() === true;
      await Promise.all(running.map((attempt) => attempts.giveUp(attempt, reason, { isBlameless })));
    } catch (error) {
      if (this.#isClosed) return;
      log.error("the attempts of a worker could not be given up; their leases will end", { worker: id, error });
    }
  }

  #remember(barred: PeerId): void {
    this.#barred.delete(barred);
    this.#barred.add(barred);
    if (this.#barred.size <= BARRED_REMEMBERED_MAX) return;
    const [oldest] = this.#barred;
    if (oldest !== undefined) this.#barred.delete(oldest);
  }

  #remove(entry: Entry): void {
    if (this.#entries.get(entry.peer.id) !== entry) return;
    this.#entries.delete(entry.peer.id);
    entry.graceTimer?.[Symbol.dispose]();
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
  readonly onDropped: () => void;
}

/** One worker's session: the target of its `WorkerSession` capability. */
class WorkerSession implements WorkerSessionTarget {
  readonly #init: WorkerSessionsInit;
  readonly #session: AttemptSession;
  readonly #startedAt: number;
  readonly #hooks: SessionHooks;
  readonly #ended = new AbortController();
  #offers = new AbortController();
  #sender: Capability | undefined;
  #hasResumed = false;

  constructor(init: WorkerSessionsInit, session: AttemptSession, startedAt: number, hooks: SessionHooks) {
    this.#init = init;
    this.#session = session;
    this.#startedAt = startedAt;
    this.#hooks = hooks;
  }

  offers() {
    if (!this.#hasResumed) throw failed("call resume first, also with nothing to resume", { code: "resume-first" });
    const signal = AbortSignal.any([this.#ended.signal, this.#offers.signal]);
    this.#sender ??= this.#init.offersFor(this.#session.worker, signal);
    return { sender: this.#sender, leaseMs: LEASE_MS, renewEveryMs: LEASE_RENEW_EVERY_MS };
  }

  async resume(held: readonly HeldAttempt<RunClient>[]): Promise<readonly ResumeVerdict<Capability>[]> {
    const { attempts } = this.#init;
    let running: readonly RunningAttempt[];
    try {
      running = await this.#running();
    } catch (error) {
      for (const { run } of held) run[Symbol.dispose]();
      throw storeTrouble(error);
    }
    // From here on nothing waits, so that nothing changes.
    this.#hasResumed = true;
    const known = new Map(running.map((attempt) => [attemptKey(attempt.id), attempt]));
    const verdicts = held.map(({ id, run, outputOffset }): ResumeVerdict<Capability> => {
      const attempt = known.get(attemptKey(id));
      if (attempt === undefined) {
        run[Symbol.dispose]();
        return { kind: "stop", reason: "the gateway no longer holds this attempt to be alive" };
      }
      known.delete(attemptKey(id));
      return this.#adopt(attempt, run, outputOffset);
    });
    for (const attempt of known.values()) {
      // One that is just being leased is the dispatcher's: it has not been told to the worker, or is on its way.
      if (attempts.isExpected(attempt.id)) continue;
      const isBlameless = attempt.startedAt < this.#startedAt;
      void attempts.giveUp(attempt, "its worker came back without it", { isBlameless });
    }
    return verdicts;
  }

  async renew(ids: readonly AttemptId[], state: WorkerState): Promise<readonly AttemptId[]> {
    this.#hooks.onState(state);
    if (ids.length === 0) return [];
    const { store, clock } = this.#init;
    return store.renew(ids, this.#session.worker, clock.now() + LEASE_MS).catch((error: unknown) => {
      throw storeTrouble(error);
    });
  }

  drain(): void {
    if (this.#session.isDraining() || this.#ended.signal.aborted) return;
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

  /** What the store holds to be on this worker, with leases that are good for the time being. */
  async #running(): Promise<readonly RunningAttempt[]> {
    const { store, clock } = this.#init;
    const { worker } = this.#session;
    const running = await store.listRunning(worker);
    await store.renew(
      running.map(({ id }) => id),
      worker,
      clock.now() + LEASE_MS,
    );
    if (!this.#session.isCurrent()) throw disconnected("this session has ended");
    return running;
  }

  #adopt(attempt: RunningAttempt, run: RunClient, outputOffset: number): ResumeVerdict<Capability> {
    let output: Capability | undefined;
    const { id, outputBytesMax } = attempt;
    const watched = { id, session: this.#session, outputBytesMax };
    this.#init.attempts.watch(watched, (borrowed) => {
      output = borrowed.dup();
      return run;
    });
    assert(output !== undefined, "watching begins at once");
    return { kind: "adopt", output, offset: Math.max(attempt.outputBytes, outputOffset) };
  }
}
