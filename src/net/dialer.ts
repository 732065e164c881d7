/**
 * Keeps one connection to a gateway: the first that can be had of a fallback list, for as long as this process lives.
 *
 *     searching ──opened──▶ connected ──over──▶ searching …          close() from any state ──▶ closed
 *
 * Searching goes through the list in order, over and over, with growing waits between rounds; news by multicast ends a
 * wait at once. It never gives up and says why it has no connection, once per reason. A stream that opens proves
 * nothing: the peer may still turn us away. So the owner of the connection, who knows, returns normally when a
 * connection that was good is over, and rejects when it never was.
 */
import { Backoff } from "../base/backoff.ts";
import { sleep, type Clock } from "../base/clock.ts";
import { disconnected, messageOf } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { CLOSE_LINGER_MS, REDIAL_FIRST_MS, REDIAL_MAX_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { ByteStream } from "../rpc/byte-stream.ts";
import type { Discovery } from "./discovery.ts";
import type { Host } from "./host.ts";
import { formatWhere, type Where } from "./where.ts";

/** A stream that was opened to a target. */
export interface DialedPeer {
  /** Owned by the callback that gets it. */
  readonly stream: ByteStream;
  readonly remotePeerId: PeerId;
  readonly where: Where;
  /** The join secret that goes with the target: as given with it, or found in the peer's run file. */
  readonly secret: string | undefined;
  /** Aborted when the dialer is closed. */
  readonly signal: AbortSignal;
}

export interface DialerInit {
  readonly host: Pick<Host, "openStream">;
  readonly discovery: Pick<Discovery, "candidates" | "hunt" | "onNews" | "remember" | "secretOf">;
  /** At least one; earlier ones are preferred. */
  readonly targets: readonly Where[];
  /** Resolves when a connection that was good is over; rejects, with the reason, when the peer turned us away. */
  readonly onConnected: (peer: DialedPeer) => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export type DialerState = "searching" | "connected" | "closed";

export class Dialer implements AsyncDisposable {
  readonly #init: DialerInit;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  readonly #running: Promise<void>;
  /** Why there is no connection, per target. */
  readonly #reasons = new Map<Where, string>();
  #state: DialerState = "searching";
  #stream: ByteStream | undefined;
  #hunt: Disposable | undefined;
  #isFirstRound = true;

  /** Begins at once. */
  constructor(init: DialerInit) {
    this.#init = init;
    this.#backoff = new Backoff({ firstMs: REDIAL_FIRST_MS, maxMs: REDIAL_MAX_MS, random: init.random });
    this.#running = this.#run();
  }

  get state(): DialerState {
    return this.#state;
  }

  /** Why there is no connection, one sentence per target; empty when there is one or nothing was tried yet. */
  get reasons(): readonly string[] {
    return this.#state === "searching" ? [...this.#reasons.values()] : [];
  }

  /**
   * Stops dialling and tells the connection's owner, who is waited for; a stream that is still there when the signal is
   * aborted, or after a while without one, is aborted. Idempotent. Never rejects.
   */
  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closing.abort(disconnected("the dialer is closed"));
    const abort = (): void => this.#stream?.abort(disconnected("the dialer is closed"));
    const timer = signal === undefined ? this.#init.clock.setTimer(CLOSE_LINGER_MS, abort) : undefined;
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    await this.#running;
    signal?.removeEventListener("abort", abort);
    timer?.[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const lastedMs = await this.#holdOne();
      // Who ends connections as soon as they are made is not asked at full pace.
      if (lastedMs >= REDIAL_MAX_MS) this.#backoff.reset();
    }
    this.#state = "closed";
    this.#stopHunt();
  }

  /** Searches until there is a connection, and waits for its end. Returns how long it lasted; 0 when closed before. */
  async #holdOne(): Promise<number> {
    let hasNews = false;
    let wake = new AbortController();
    using _subscription = this.#init.discovery.onNews((peerId) => {
      if (!this.#init.targets.some((where) => where.kind !== "host" && where.peerId === peerId)) return;
      hasNews = true;
      wake.abort();
    });
    while (!this.#closing.signal.aborted) {
      if (!hasNews) await this.#wait(wake.signal);
      hasNews = false;
      wake = new AbortController();
      for (const where of this.#init.targets) {
        if (this.#closing.signal.aborted) break;
        const lastedMs = await this.#tryTarget(where);
        if (lastedMs !== undefined) return lastedMs;
      }
    }
    return 0;
  }

  /** How long the connection lasted; undefined when there was none that was good. */
  async #tryTarget(where: Where): Promise<number | undefined> {
    const { clock } = this.#init;
    let startMs: number | undefined;
    this.#startHunt();
    try {
      const peer = await this.#open(where);
      startMs = clock.monotonicMs();
      this.#stream = peer.stream;
      this.#state = "connected";
      this.#stopHunt();
      await this.#init.onConnected(peer);
      this.#reasons.clear();
      return clock.monotonicMs() - startMs;
    } catch (error) {
      this.#stream?.abort(disconnected("the connection was given up", { cause: error }));
      if (!this.#closing.signal.aborted) this.#onFailure(where, error);
      const lastedMs = startMs === undefined ? 0 : clock.monotonicMs() - startMs;
      // One that held for a while and then broke was good, however its owner puts it.
      return lastedMs >= REDIAL_MAX_MS ? lastedMs : undefined;
    } finally {
      this.#stream = undefined;
      this.#state = "searching";
    }
  }

  /** A host, or a multiaddr without a peer id, cannot be found by multicast. */
  #startHunt(): void {
    const hasPeer = this.#init.targets.some((where) => where.kind !== "host" && where.peerId !== undefined);
    if (hasPeer) this.#hunt ??= this.#init.discovery.hunt();
  }

  #stopHunt(): void {
    this.#hunt?.[Symbol.dispose]();
    this.#hunt = undefined;
  }

  async #open(where: Where): Promise<DialedPeer> {
    const { host, discovery } = this.#init;
    const { signal } = this.#closing;
    const { peerId, addresses, notes } = await discovery.candidates(where);
    signal.throwIfAborted();
    // Without an address, a connection that is there already may still serve.
    const opened = await host.openStream({ peerId, addresses }, { signal }).catch((error: unknown) => {
      throw notes.length === 0 ? error : disconnected(notes.join("; "), { code: "unreachable", cause: error });
    });
    discovery.remember(opened.remotePeerId, opened.address);
    const secret = where.secret ?? (await discovery.secretOf(opened.remotePeerId));
    return { stream: opened.stream, remotePeerId: opened.remotePeerId, where, secret, signal };
  }

  #onFailure(where: Where, error: unknown): void {
    const reason = messageOf(error);
    if (this.#reasons.get(where) === reason) return;
    this.#reasons.set(where, reason);
    this.#init.log.warn(`no connection to ${formatWhere(where)} yet: ${reason}`);
  }

  /** Waits before the next round, or until woken. The very first does not wait. */
  async #wait(wake: AbortSignal): Promise<void> {
    if (this.#isFirstRound) {
      this.#isFirstRound = false;
      return;
    }
    try {
      const signal = AbortSignal.any([wake, this.#closing.signal]);
      await sleep(this.#init.clock, this.#backoff.nextMs(), { signal });
    } catch {
      // Woken early.
    }
  }
}
