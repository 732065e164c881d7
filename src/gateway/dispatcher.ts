/**
 * Brings ready runs and waiting offers together, and starts them.
 *
 * One loop: when something may have changed (`wake`), it reads the ready runs, matches them with the offers that wait, and
 * begins the pairs. `match` decides; the loop only carries out. For each pair the order is:
 *
 *   1. take the offer from the channel: the commit point; if its sender has vanished, the run stays ready;
 *   2. lease the run in the store, by compare-and-set; if somebody was first, drop the worker capability: its slot
 *      returns to the worker, which offers again;
 *   3. call `run` on the worker, and watch the attempt.
 *
 * A crash between 2 and 3 leaves an attempt that its worker does not have: it is lost when the worker resumes without it.
 */
import type { OfferChooser, WorkerOffer } from "../channel/offer-channel.ts";
import type { Offer } from "../channel/rendezvous.ts";
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import { LEASE_MS, MATCH_WINDOW_FIRST, MATCH_WINDOW_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { type ModuleTarget, serveModule } from "../caps/module.ts";
import { WorkerClient } from "../caps/worker.ts";
import type { RunEntry, RunSpec } from "../model/run-spec.ts";
import type { AttemptId } from "../model/run.ts";
import type { TaskSpec } from "../model/task.ts";
import type { PickPolicy } from "../model/worker.ts";
import type { Blob, BlobStore } from "../store/blobs.ts";
import type { ReadyRun, Store } from "../store/store.ts";
import type { Attempts } from "./attempts.ts";
import type { EventHub } from "./events.ts";
import { type OfferView, match } from "./matching.ts";
import { Turns } from "./turns.ts";
import type { WorkerSessions } from "./worker-sessions.ts";

export interface DispatcherInit {
  readonly store: Store;
  readonly blobs: BlobStore;
  /** The local facet of the offer channel: it alone may take a chosen sender. */
  readonly channel: OfferChooser;
  readonly attempts: Attempts;
  readonly sessions: WorkerSessions;
  readonly events: EventHub;
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
  readonly #backoff: Backoff;
  readonly #onOffer: Disposable;
  #state: "idle" | "working" | "working, woken" | "closed" = "idle";
  #backoffTimer: Timer | undefined;
  readonly #starting = new Set<Promise<void>>();

  constructor(init: DispatcherInit) {
    this.#init = init;
    this.#backoff = new Backoff({ firstMs: 50, maxMs: 5_000, random: init.random });
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

  /** Starts nothing more; resolves when the starts under way are done. */
  async close(): Promise<void> {
    this.#state = "closed";
    this.#onOffer[Symbol.dispose]();
    this.#backoffTimer?.[Symbol.dispose]();
    await Promise.allSettled(this.#starting);
  }

  async #work(): Promise<void> {
    const { log, clock } = this.#init;
    for (;;) {
      try {
        await this.#matchOnce();
        this.#backoff.reset();
      } catch (error) {
        log.error("ready runs could not be read; trying again", { error });
        this.#wakeIn(this.#backoff.nextMs());
      }
      if (this.#state === "closed") return;
      if (this.#state === "working") break;
      this.#state = "working";
    }
    this.#state = "idle";
    const nextAt = await this.#init.store.nextBackoffEnd(clock.now()).catch(() => undefined);
    if (nextAt !== undefined) this.#wakeIn(Math.max(1, nextAt - clock.now()));
  }

  #wakeIn(delayMs: number): void {
    if (this.#state === "closed") return;
    this.#backoffTimer?.[Symbol.dispose]();
    this.#backoffTimer = this.#init.clock.setTimer(delayMs, () => this.wake());
  }

  async #matchOnce(): Promise<void> {
    const { store, channel, clock, policy, random } = this.#init;
    let window = MATCH_WINDOW_FIRST;
    while (channel.waiting().length > 0) {
      const runs = await store.listReady(clock.now(), window);
      if (this.#state === "closed" || runs.length === 0) return;
      const offers = channel
        .waiting()
        .map((offer): WaitingOffer => ({ offer, peer: offer.value.peer, state: offer.value.state }));
      const pairings = match({ offers, runs, policy, random, turns: this.#turns });
      for (const { offer, run } of pairings) {
        this.#turns.record(offer.peer);
        this.#start(run, offer);
      }
      // Behind a full window more may wait: the next reading no longer has what was just leased. Where nothing of the
      // window found an offer, all of it wants other workers, and a wider one looks behind it.
      if (runs.length < window) return;
      if (pairings.length > 0) continue;
      if (window === MATCH_WINDOW_MAX) return;
      window = Math.min(window * 4, MATCH_WINDOW_MAX);
    }
  }

  #start(ready: ReadyRun, { offer }: WaitingOffer): void {
    const offered = this.#init.channel.take(offer);
    if (offered === undefined) {
      this.wake();
      return;
    }
    const started = this.#lease(ready, offered).catch((error: unknown) => {
      this.#init.log.error("a run could not be started; trying again", {
        task: ready.spec.id,
        run: ready.index,
        error,
      });
      this.#wakeIn(this.#backoff.nextMs());
    });
    this.#starting.add(started);
    void started.finally(() => this.#starting.delete(started));
  }

  async #lease(ready: ReadyRun, offered: WorkerOffer): Promise<void> {
    const { store, attempts, sessions, events, clock } = this.#init;
    using worker = new WorkerClient(offered.worker);
    const session = sessions.current(offered.peer);
    if (session === undefined) {
      this.wake();
      return;
    }
    const id: AttemptId = { task: ready.spec.id, serial: ready.serial, run: ready.index, attempt: ready.nextAttempt };
    using _expected = attempts.expect(id);
    const now = clock.now();
    if (!(await store.lease(id, offered.peer, now, now + LEASE_MS))) {
      this.wake();
      return;
    }
    events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: "running" });
    events.publish({ type: "task", task: id.task, state: "running" });
    const stored = await store.getModule(ready.spec.module);
    using module = serveModule(new BlobModule(this.#init.blobs, ready.spec));
    using output = attempts.output(id);
    const run = worker.run(runSpec(id, ready, stored?.inspection.bytes ?? 0), module, output);
    attempts.watch(id, run, session);
  }
}

function runSpec(id: AttemptId, ready: ReadyRun, moduleBytes: number): RunSpec {
  const { spec } = ready;
  return {
    id,
    module: spec.module,
    moduleBytes,
    entry: runEntry(spec),
    args: spec.args,
    env: spec.env,
    stdin: spec.stdin,
    timeoutMs: spec.timeoutMs,
    cpuMs: spec.cpuMs,
    memoryBytes: spec.memoryBytes,
    outputBytesMax: Math.max(0, spec.outputBytesMax - ready.outputBytes),
    outputLimit: spec.outputLimit,
    leaseMs: LEASE_MS,
  };
}

function runEntry(spec: TaskSpec): RunEntry {
  if (spec.entry !== "run") return { kind: spec.entry };
  return { kind: "run", input: spec.input ?? 0, difficulty: spec.difficulty ?? 0 };
}

/** A module's bytes, opened when a worker first reads them: most have them cached. */
class BlobModule implements ModuleTarget {
  readonly #blobs: BlobStore;
  readonly #spec: TaskSpec;
  #blob: Promise<Blob | undefined> | undefined;

  constructor(blobs: BlobStore, spec: TaskSpec) {
    this.#blobs = blobs;
    this.#spec = spec;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#blob ??= this.#blobs.open(this.#spec.module);
    const blob = await this.#blob;
    if (blob === undefined)
      throw failed(`module ${this.#spec.module} is not in the blob store`, { code: "no-such-module" });
    return blob.read(offset, length);
  }

  [Symbol.dispose](): void {
    void this.#blob?.then((blob) => blob?.[Symbol.asyncDispose]());
  }
}
