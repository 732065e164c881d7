/**
 * The workers of this gateway: those with a session, those that are away and may come back, those that wait to be
 * admitted. What a worker holds is decided by the leases in the store, never by what is remembered here.
 *
 *     stranger ──login──▶ pending ──admit──▶ ready ◀──admit, probe──▶ draining, quarantined
 *         └──────login─────────────────────▶   │                           │
 *                                            connection closed, session dropped
 *                                              ▼                           ▼
 *                                     away, while it has attempts ──grace over──▶ gone: its attempts are lost
 *
 * The grace is short where the worker, or its machine, has closed the connection: it is gone. Where this gateway has given
 * the connection up for its silence, nobody knows: the worker may go on, and has its lease, which ends by itself.
 *
 * A peer has at most one session: a new login ends the one before, whose offers vanish and whose capabilities fail. Its
 * attempts stay its own, until the new session says which of them the worker still has.
 *
 * What an operator has drained (drained-workers.ts) and what is in quarantine (quarantine.ts) goes by the peer, not by the
 * session: such a worker's offers wait, and are not taken.
 */
import type { Timer } from "../base/clock.ts";
import { ClusterError, disconnected, failed, overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { BARRED_REMEMBERED_MAX } from "../base/limits.ts";
import { serveWorkerSession } from "../caps/worker-session.ts";
import type { WorkerState, WorkerStatus, WorkerView } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import { PEER_SILENT } from "../rpc/byte-stream.ts";
import { revocable } from "../rpc/revoke.ts";
import type { AttemptSession } from "./attempts.ts";
import { DrainedWorkers } from "./drained-workers.ts";
import type { DrainOptions, WorkerDirectory } from "./services.ts";
import type { WorkerHealth } from "./worker-health.ts";
import { WorkerSession, type WorkerSessionInit } from "./worker-session.ts";

export interface WorkerSessionsInit extends WorkerSessionInit {
  readonly health: WorkerHealth;
  /** Offers of this worker that wait. */
  readonly offerCount: (worker: PeerId) => number;
  /** How long a worker that an operator drains may finish what it has, unless the operator says otherwise. */
  readonly graceMs: number;
  /** A worker may take runs again that could not before. */
  readonly onUsable: () => void;
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
  readonly #drained: DrainedWorkers;
  #isClosed = false;

  constructor(init: WorkerSessionsInit) {
    this.#init = init;
    this.#drained = new DrainedWorkers({ ...init, onOver: (worker) => this.#takeBack(worker) });
  }

  /** Takes up what the store knows of workers. */
  start(): Promise<void> {
    return this.#drained.load();
  }

  list(): readonly WorkerView[] {
    return [...this.#entries.values()].map((entry) => this.#view(entry));
  }

  get(id: PeerId): WorkerView | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : this.#view(entry);
  }

  async admit(id: PeerId): Promise<void> {
    const { store, clock, log, health, onUsable } = this.#init;
    const wasDrained = await this.#drained.remove(id);
    // Whoever was let in already, and only gets its runs back, needs no other way in.
    const wasKept = health.lift(id) || wasDrained;
    if (wasDrained) {
      log.info("a drained worker takes runs again", { worker: id });
      this.#tellStatus(id);
    }
    if (wasKept) onUsable();
    if (wasKept && this.#entries.get(id)?.session !== undefined) return;
    await store.setAdmission(id, "admitted", clock.now());
    this.#barred.delete(id);
    log.info("a worker was admitted; it joins when it asks next", { worker: id });
  }

  async drain(id: PeerId, { graceMs = this.#init.graceMs }: DrainOptions = {}): Promise<boolean> {
    if (this.#entries.get(id)?.session === undefined) return false;
    await this.#drained.add(id, graceMs);
    this.#init.log.info("an operator drains a worker", { worker: id, graceMs });
    this.#tellStatus(id);
    return true;
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
    await Promise.all(running.map((attempt) => this.#init.attempts.giveUp(attempt, reason, "gateway")));
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
      isDraining: () => isDraining || this.#drained.has(peer.id),
    };
    const session = new WorkerSession(this.#init, attemptSession, {
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
      this.#ended(entry, reason);
      if (!this.#isClosed) onEnded?.();
    };
    const onConnectionEnded = () => {
      const isSilent = ended.reason instanceof ClusterError && ended.reason.code === PEER_SILENT;
      end(disconnected("the connection to the worker has ended", isSilent ? { code: PEER_SILENT } : {}));
    };
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
    this.#tellStatus(peer.id);
    if (ended.aborted) onConnectionEnded();
    return capability;
  }

  /** The session through which runs reach this worker now; undefined when it has none. */
  current(worker: PeerId): AttemptSession | undefined {
    const session = this.#entries.get(worker)?.session;
    return session?.isCurrent() === true ? session : undefined;
  }

  /** Workers that may be given a run as soon as they have a free slot: what they say of themselves. */
  *usable(): Generator<{ readonly peer: PeerId; readonly state: WorkerState }> {
    for (const [peer, { status, state }] of this.#entries) {
      if (status === "ready" && state.slots > 0 && this.mayTake(peer) && this.#init.health.isTrusted(peer)) {
        yield { peer, state };
      }
    }
  }

  /** An operator has not drained it. */
  mayTake(worker: PeerId): boolean {
    return !this.#drained.has(worker);
  }

  /** What keeps runs from a worker has changed. */
  onHealthChanged(worker: PeerId): void {
    const { health, log, onUsable } = this.#init;
    const quarantine = health.quarantineOf(worker);
    if (quarantine === undefined) log.info("a worker is trusted again", { worker });
    else if (quarantine.standing === "quarantined") {
      const probeInS = Math.round(quarantine.probeInMs / 1_000);
      log.warn("a worker is in quarantine", { worker, reason: quarantine.reason, probeInS });
    }
    this.#tellStatus(worker);
    onUsable();
  }

  /** Ends every session; workers keep their attempts, for the next gateway. */
  close(): void {
    this.#isClosed = true;
    this.#drained.close();
    for (const entry of this.#entries.values()) {
      entry.graceTimer?.[Symbol.dispose]();
      entry.end(disconnected("the gateway is closing"));
    }
    this.#entries.clear();
  }

  #ended(entry: Entry, { code }: ClusterError): void {
    const { clock, log, store, leaseClock } = this.#init;
    const { terms } = leaseClock;
    const { id } = entry.peer;
    if (this.#entries.get(id) !== entry || this.#isClosed) return;
    entry.status = "away";
    const isSilent = code === PEER_SILENT;
    log.info(isSilent ? "a worker is silent" : "a worker is gone", { worker: id });
    this.#tell(id, "away");
    entry.graceTimer = isSilent
      ? clock.setTimer(terms.silentGraceMs, () => this.#remove(entry))
      : clock.setTimer(terms.awayGraceMs, () => void this.#giveUp(entry));
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
    const { store, attempts, log, leaseClock } = this.#init;
    this.#remove(entry);
    try {
      const running = await store.listRunning(id);
      // It may have come back just now: then it says itself what it still has.
      if (this.#isClosed || this.current(id) !== undefined) return;
      const seconds = leaseClock.terms.awayGraceMs / 1000;
      const reason = `the connection to its worker closed and the worker was not back within ${seconds} s`;
      const isDraining = entry.session?.isDraining() === true;
      const { heldSinceMs } = leaseClock;
      await Promise.all(
        running.map((attempt) => {
          const cause = isDraining || attempts.hasBegunBefore(attempt.id, heldSinceMs) ? "gateway" : "silence";
          return attempts.giveUp(attempt, reason, cause);
        }),
      );
    } catch (error) {
      if (this.#isClosed) return;
      log.error("the attempts of a worker could not be given up; their leases will end", { worker: id, error });
    }
  }

  /** Its grace is over: what it has not finished is tried elsewhere. Rejects as the store does. */
  async #takeBack(worker: PeerId): Promise<void> {
    const { store, attempts, log } = this.#init;
    const running = await store.listRunning(worker);
    if (this.#isClosed || !this.#drained.has(worker) || running.length === 0) return;
    log.info("what a drained worker has not finished is taken back", { worker, attempts: running.length });
    const reason = "its worker was drained, and did not finish in time";
    await Promise.all(running.map((attempt) => attempts.giveUp(attempt, reason, "gateway")));
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

  #tellStatus(worker: PeerId): void {
    const entry = this.#entries.get(worker);
    if (entry !== undefined) this.#tell(worker, this.#statusOf(entry).status);
  }

  #statusOf(entry: Entry): Pick<WorkerView, "status" | "note"> {
    const { status, note } = entry;
    const { id } = entry.peer;
    if (status === "pending" || status === "away") return { status, note };
    if (this.#drained.has(id)) return { status: "draining", note: drainedNote(id) };
    const quarantine = this.#init.health.quarantineOf(id);
    if (status === "draining" || quarantine === undefined) return { status, note };
    const next =
      quarantine.standing === "quarantined"
        ? `it is tried again in ${Math.ceil(quarantine.probeInMs / 1_000)} s`
        : "it is being tried again";
    const remedy = `\`capmesh worker admit ${id}\` trusts it at once`;
    return { status: "quarantined", note: `${quarantine.reason}; ${next}; ${remedy}` };
  }

  #view(entry: Entry): WorkerView {
    const { id, address } = entry.peer;
    const status = this.#statusOf(entry);
    return {
      id,
      ...status,
      isResting: status.status === "ready" && this.#init.health.usableOffers(id) === 0,
      state: entry.state,
      running: this.#init.attempts.countOn(id),
      offers: this.#init.offerCount(id),
      address,
      connectedAt: entry.connectedAt,
      lastSeenAt: entry.lastSeenAt,
    };
  }
}

function drainedNote(id: PeerId): string {
  return `drained by an operator; \`capmesh worker admit ${id}\` lets it take runs again`;
}
