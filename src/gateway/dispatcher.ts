/**
 * Brings ready runs and waiting offers together, and starts them.
 *
 * One loop: when something may have changed (`wake`), it reads the ready runs, matches them with the offers that wait, and
 * begins the pairs. `match` decides; the loop only carries out. For each pair the order is:
 *
 *   1. take the offer from the channel: the commit point; if its sender has vanished, the run stays ready;
 *   2. lease the run in the store, by compare-and-set; if somebody was first, or it was cancelled meanwhile, drop the
 *      worker capability: its slot returns to the worker, which offers again;
 *   3. call `run` on the worker, and watch the attempt; if its session has ended meanwhile, give the attempt up instead.
 *
 * A crash between 2 and 3 leaves an attempt that its worker does not have: it is lost when the worker resumes without it.
 *
 * A round looks behind runs that want other workers, as far as there are runs, in pages; what is known to want other
 * workers is not read at all (unmet-requirements.ts).
 *
 * Four things make it wait although runs and offers are there: the store has failed (then for all, growing); a worker
 * does not do well, or is drained (then for that worker: worker-health.ts); a run was lost, and a worker that has not lost
 * it is busy (then for that run: untried-waits.ts); a module or file could not be read (then for the runs that need it:
 * unreadable-blobs.ts).
 */
import type { OfferChooser, WorkerOffer } from "../channel/offer-channel.ts";
import type { Offer } from "../channel/rendezvous.ts";
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import {
  CLOCK_CHECK_EVERY_MS,
  DISPATCH_RETRY_FIRST_MS,
  DISPATCH_RETRY_MAX_MS,
  MATCH_WINDOW_FIRST,
  MATCH_WINDOW_MAX,
} from "../base/limits.ts";
import type { Span, Tracer } from "../base/tracing.ts";
import type { Log, LogFields } from "../base/log.ts";
import type { PeerId } from "../base/ids.ts";
import type { Random } from "../base/random.ts";
import { serveFiles } from "../caps/files.ts";
import { serveModule } from "../caps/module.ts";
import { WorkerClient } from "../caps/worker.ts";
import type { AttemptId } from "../model/run.ts";
import type { TaskSpec } from "../model/task.ts";
import type { PickPolicy } from "../model/worker.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { ReadyRun, Store } from "../store/store.ts";
import { endSpan, startAttempt, startCall } from "./attempt-spans.ts";
import { type AttemptSession, type Attempts, answerMsMax } from "./attempts.ts";
import type { BlobPins } from "./blob-pins.ts";
import { BlobModule } from "./blob-module.ts";
import type { EventHub } from "./events.ts";
import { type OfferView, match } from "./matching.ts";
import { ModuleSizes } from "./module-sizes.ts";
import { blobsOf, fileBytesMax, runSpec } from "./run-specs.ts";
import { type ResolvedFiles, RunFiles, resolveFiles } from "./run-files.ts";
import type { LeaseClock } from "./lease-clock.ts";
import type { RunMeter } from "./run-meter.ts";
import { Turns } from "./turns.ts";
import { UnmetRequirements } from "./unmet-requirements.ts";
import { type BlobReads, type RunName, UnreadableBlobs } from "./unreadable-blobs.ts";
import type { StoreReadiness } from "./services.ts";
import { type UntriedRound, UntriedWaits } from "./untried-waits.ts";
import type { WorkerHealth } from "./worker-health.ts";
import type { WorkerSessions } from "./worker-sessions.ts";

export interface DispatcherInit {
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly pins: BlobPins;
  /** The local facet of the offer channel: it alone may take a chosen sender. */
  readonly channel: OfferChooser;
  readonly attempts: Attempts;
  readonly sessions: WorkerSessions;
  readonly health: WorkerHealth;
  readonly storeHealth: Pick<StoreReadiness, "check">;
  readonly leaseClock: LeaseClock;
  readonly events: EventHub;
  readonly meter: RunMeter;
  readonly tracer: Tracer;
  readonly policy: PickPolicy;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

interface WaitingOffer extends OfferView {
  readonly offer: Offer<WorkerOffer>;
}

export class Dispatcher {
  readonly #init: DispatcherInit;
  readonly #turns = new Turns();
  readonly #unmet = new UnmetRequirements();
  readonly #unreadable: UnreadableBlobs;
  readonly #moduleSizes: ModuleSizes;
  readonly #untried: UntriedWaits;
  readonly #backoff: Backoff;
  readonly #onOffer: Disposable;
  #state: "idle" | "working" | "working, woken" | "closed" = "idle";
  /** By the monotonic clock: the store has failed, and nothing is started before. */
  #pausedUntilMs = 0;
  /** By the monotonic clock: no round goes deeper than MATCH_WINDOW_MAX runs before. */
  #deepMatchAtMs = 0;
  /** The last round did not go as deep as it should. */
  #hasMore = false;
  /** When the last round began, by both clocks: it may have missed what has come with time since then. */
  #roundAt = { now: 0, monotonicMs: 0 };
  /** Wakes for what comes with time alone: the end of a pause, of a rest, of a run's back-off. */
  #timer: Timer | undefined;
  readonly #starting = new Set<Promise<void>>();

  constructor(init: DispatcherInit) {
    this.#init = init;
    this.#moduleSizes = new ModuleSizes(init.store, init.blobs);
    this.#unreadable = new UnreadableBlobs({ ...init, onReadable: () => this.wake() });
    this.#untried = new UntriedWaits({ clock: init.clock, usable: () => init.sessions.usable() });
    this.#backoff = new Backoff({
      firstMs: DISPATCH_RETRY_FIRST_MS,
      maxMs: DISPATCH_RETRY_MAX_MS,
      random: init.random,
    });
    this.#onOffer = init.channel.onOffer(() => this.wake());
  }

  /** Runs, offers or workers may have changed. Cheap, and may be called at any time. */
  wake(): void {
    if (this.#state === "working") this.#state = "working, woken";
    if (this.#state !== "idle") return;
    this.#state = "working";
    // Offers of one tick are matched together.
    queueMicrotask(() => void this.#work());
  }

  /** How long a ready run still waits for a module or file that could not be read; undefined if it does not. */
  blobWaitMs(run: RunName, spec: TaskSpec): number | undefined {
    return this.#unreadable.restMs(run, blobsOf(spec));
  }

  /** The store takes something again: what waits for the next try is tried now. */
  storeIsWell(): void {
    if (!this.#isPaused()) return;
    this.#pausedUntilMs = 0;
    this.wake();
  }

  /** Starts nothing more; resolves when the starts under way are done. */
  async close(): Promise<void> {
    this.#state = "closed";
    this.#onOffer[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    await Promise.allSettled(this.#starting);
  }

  async #work(): Promise<void> {
    for (;;) {
      try {
        if (!this.#isPaused()) await this.#matchOnce();
      } catch (error) {
        this.#pause("ready runs could not be read; trying again", { error });
      }
      if (this.#state === "closed") return;
      if (this.#state === "working") break;
      this.#state = "working";
    }
    this.#state = "idle";
    await this.#setTimer();
  }

  #isPaused(): boolean {
    return this.#init.clock.monotonicMs() < this.#pausedUntilMs;
  }

  #pause(message: string, fields: LogFields): void {
    if (this.#state === "closed") return;
    // Starts that fail together are one failure.
    if (!this.#isPaused()) {
      this.#init.log.error(message, fields);
      this.#pausedUntilMs = this.#init.clock.monotonicMs() + this.#backoff.nextMs();
    }
    this.wake();
  }

  async #setTimer(): Promise<void> {
    const { store, clock, health } = this.#init;
    const { now, monotonicMs } = this.#roundAt;
    let backoffEnd: number | undefined;
    try {
      // A clock that was put back meanwhile has back-offs before it that the round has not seen, either.
      if (!this.#isPaused()) backoffEnd = await store.nextBackoffEnd(Math.min(now, clock.now()));
    } catch (error) {
      this.#pause("runs that back off could not be read; trying again", { error });
    }
    if (this.#state !== "idle") return;
    this.#timer?.[Symbol.dispose]();
    const waitsMs: (number | undefined)[] = [];
    if (this.#isPaused()) {
      waitsMs.push(this.#pausedUntilMs - clock.monotonicMs());
    } else {
      const waiting = [health.nextChangeInMs(monotonicMs), this.#untried.nextEndInMs(monotonicMs)];
      waitsMs.push(...waiting, this.#unreadable.nextEndInMs(monotonicMs));
      // The wall clock may jump.
      if (backoffEnd !== undefined) waitsMs.push(Math.min(CLOCK_CHECK_EVERY_MS, backoffEnd - clock.now()));
      if (this.#hasMore) waitsMs.push(this.#deepMatchAtMs - clock.monotonicMs());
    }
    const waitMs = Math.min(...waitsMs.filter((each) => each !== undefined));
    if (waitMs === Infinity) return;
    // A timer of the system may be early by a part of a millisecond.
    this.#timer = clock.setTimer(Math.max(1, Math.ceil(waitMs)), () => this.wake());
  }

  /** Offers that wait and may be used. */
  #offers(): WaitingOffer[] {
    const { channel, health, sessions } = this.#init;
    const offers: WaitingOffer[] = [];
    const left = new Map<PeerId, number>();
    for (const offer of channel.waiting()) {
      const { peer, state } = offer.value;
      const usable = left.get(peer) ?? (sessions.mayTake(peer) ? health.usableOffers(peer) : 0);
      if (usable > 0) offers.push({ offer, peer, state });
      left.set(peer, usable - 1);
    }
    return offers;
  }

  /**
   * Goes through the ready runs, from the first on, for as long as offers are left of those that waited at the beginning.
   * What comes in meanwhile is for the next round, which begins at the first run again: so no run is served before one
   * that has a better claim to the same offer.
   */
  async #matchOnce(): Promise<void> {
    const { store, clock, policy, random } = this.#init;
    const startedMs = clock.monotonicMs();
    this.#roundAt = { now: clock.now(), monotonicMs: startedMs };
    this.#hasMore = false;
    let offers = this.#offers();
    const untried = this.#untried.round();
    const mayRepeat = (run: ReadyRun) => untried.mayRepeat(run);
    let after: ReadyRun | undefined;
    let looked = 0;
    let except = this.#unmet.unmetBy(offers);
    for (let window = MATCH_WINDOW_FIRST; offers.length > 0; window = Math.min(window * 4, MATCH_WINDOW_MAX)) {
      const runs = await store.listReady(clock.now(), window, { after, except });
      after = runs.at(-1);
      if (this.#state === "closed" || this.#isPaused() || after === undefined) break;
      const used = new Set<WaitingOffer>();
      const startable = runs.filter((run) => !this.#unreadable.isResting(run, blobsOf(run.spec)));
      for (const { offer, run } of match({ offers, runs: startable, policy, random, turns: this.#turns, mayRepeat })) {
        used.add(offer);
        this.#turns.record(offer.peer);
        this.#start(run, offer, untried);
      }
      offers = offers.filter((offer) => !used.has(offer));
      if (offers.length > 0) {
        this.#unmet.note(runs, offers);
        except = this.#unmet.unmetBy(offers);
      }
      looked += runs.length;
      if (looked >= MATCH_WINDOW_MAX && startedMs < this.#deepMatchAtMs) {
        this.#hasMore = true;
        return;
      }
    }
    // Going through very many is worth it for who waits behind them, but is not to be all that is done.
    const endedMs = clock.monotonicMs();
    if (looked >= MATCH_WINDOW_MAX) this.#deepMatchAtMs = endedMs + (endedMs - startedMs);
  }

  #start(ready: ReadyRun, { offer, peer }: WaitingOffer, untried: UntriedRound): void {
    const { channel, health } = this.#init;
    const offered = channel.take(offer);
    if (offered === undefined) {
      this.wake();
      return;
    }
    const id: AttemptId = { task: ready.spec.id, serial: ready.serial, run: ready.index, attempt: ready.nextAttempt };
    const isSecondChoice = ready.lostOn.includes(peer) && untried.hasUntried(ready);
    this.#untried.began(ready);
    health.began(id, peer);
    const started = this.#lease({ id, ready, isSecondChoice }, offered).catch((error: unknown) => {
      health.ended({ id, worker: peer, sign: "nothing", what: "not leased" });
      this.#pause("a run could not be leased; trying again", { task: ready.spec.id, run: ready.index, error });
    });
    this.#starting.add(started);
    void started.finally(() => this.#starting.delete(started));
  }

  async #lease({ id, ready, isSecondChoice }: Start, offered: WorkerOffer): Promise<void> {
    const { store, attempts, sessions, health, events, meter, clock, leaseClock } = this.#init;
    using worker = new WorkerClient(offered.worker);
    const session = sessions.current(offered.peer);
    if (session === undefined) {
      health.ended({ id, worker: offered.peer, sign: "nothing", what: "its session has ended" });
      this.wake();
      return;
    }
    using expected = attempts.expect(id);
    const now = clock.now();
    // Both are asked at once: the next reading of ready runs must not have this one any more.
    const [isLeased, needs] = await Promise.all([
      store.lease(id, offered.peer, now, leaseClock.leaseEnd()),
      this.#needsOf(ready).catch((error: unknown) => {
        this.#pause("what is known of a module or a file could not be read; trying again", { error });
        return undefined;
      }),
    ]);
    if (!isLeased || expected.isCancelled) {
      health.ended({ id, worker: offered.peer, sign: "nothing", what: "not wanted any more" });
      // Whoever has cancelled it has told so.
      if (!isLeased) this.wake();
      return;
    }
    if (needs !== undefined) this.#backoff.reset();
    meter.started(id.attempt === 1 ? now - ready.dueAt : undefined);
    const span = startAttempt(this.#init.tracer, id, ready.spec, offered.peer);
    events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: "running" });
    events.publish({ type: "task", task: id.task, state: "running" });
    if (!session.isCurrent() || needs === undefined) {
      // Its worker has not been told of it, and what the next session resumes with was decided without it.
      const reason = session.isCurrent()
        ? "what the store knows of its module or files could not be read"
        : "the session of its worker ended before the worker was told";
      endSpan(span, reason);
      void attempts.giveUp({ id, worker: offered.peer }, reason, "gateway");
      return;
    }
    const { moduleBytes, inputs } = needs;
    if (!inputs.ok) {
      health.ended({ id, worker: offered.peer, sign: "nothing", what: inputs.reason });
      endSpan(span, inputs.reason);
      void attempts.reject({ id, worker: offered.peer }, inputs.reason);
      return;
    }
    this.#begin({ id, ready, isSecondChoice }, { worker, session, span, moduleBytes, inputs });
  }

  /** It is leased: its worker is told, and it is watched. Borrows the worker. */
  #begin({ id, ready, isSecondChoice }: Start, { worker, session, span, moduleBytes, inputs }: Leased): void {
    const { attempts, blobs, pins, tracer, leaseClock } = this.#init;
    const { files, found } = inputs;
    const call = startCall(tracer, span);
    const { leaseMs } = leaseClock.terms;
    const spec = runSpec(id, ready, { moduleBytes, files, leaseMs, traceparent: call.traceparent });
    const { module, timeoutMs, outputBytesMax } = spec;
    const answerMs = answerMsMax(timeoutMs, moduleBytes + outputBytesMax + fileBytesMax(spec));
    const spans = { attempt: span, call };
    const watched = { id, session, module, outputBytesMax, answerMsMax: answerMs, isSecondChoice, spans };
    attempts.watch(watched, (output) => {
      const reads = this.#readsFor(id, session.worker);
      using served = module && serveModule(new BlobModule(blobs, reads, module));
      using contents = files.length === 0 ? undefined : serveFiles(new RunFiles({ blobs, reads, pins, files, found }));
      return worker.run(spec, served, output, contents);
    });
  }

  /** A blob that cannot be read ends the attempt, and its run with it when there is no hope that it ever can. */
  #readsFor(id: AttemptId, worker: PeerId): BlobReads {
    const { attempts, log } = this.#init;
    return this.#unreadable.readsFor(id, ({ blob, reason, isHopeless }) => {
      const fields = { ...id, blob, reason };
      if (isHopeless) {
        log.error("a module or file cannot be read any more, and the run that needs it has failed", fields);
        const what = `the gateway has not been able to read ${blob} for long: submit it again, then retry the task`;
        void attempts.reject({ id, worker }, what);
      } else {
        log.warn("a module or file could not be read; the run that needs it is tried again", fields);
        void attempts.giveUp({ id, worker }, `the gateway could not read ${blob}`, "gateway");
      }
    });
  }

  /** What a run needs besides its spec. Undefined: its module is not known. Rejects as the store does. */
  async #needsOf({
    spec,
    serial,
  }: ReadyRun): Promise<{ readonly moduleBytes: number; readonly inputs: ResolvedFiles } | undefined> {
    const [moduleBytes, inputs] = await Promise.all([
      spec.module === undefined ? 0 : this.#moduleSizes.of(spec.module),
      resolveFiles(this.#init.store, serial, spec.files),
    ]);
    return moduleBytes === undefined ? undefined : { moduleBytes, inputs };
  }
}

interface Start {
  readonly id: AttemptId;
  readonly ready: ReadyRun;
  /** Its worker has lost this run before, and others have not. */
  readonly isSecondChoice: boolean;
}

interface Leased {
  readonly worker: WorkerClient;
  readonly session: AttemptSession;
  /** Of the attempt. */
  readonly span: Span;
  readonly moduleBytes: number;
  readonly inputs: Extract<ResolvedFiles, { readonly ok: true }>;
}
