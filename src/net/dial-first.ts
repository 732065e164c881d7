/**
 * Tries several addresses of one peer, each a little after the one before, and takes the first that leads to it ("happy
 * eyeballs"): a machine has addresses that go nowhere from here, and waiting for each to time out would take minutes.
 *
 * The race is between bare TCP connections, which are cheap to throw away; only what answers is dialled in earnest, one
 * at a time, so that the peer never has two connections of which one is torn down under the protocols that chose it.
 */
import { connect } from "node:net";
import type { Clock, Timer } from "../base/clock.ts";
import { ClusterError, disconnected, messageOf } from "../base/errors.ts";
import { DIAL_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";
import { isLoopbackAddress } from "./dial-addresses.ts";
import { timeoutSignal } from "./timeout-signal.ts";

/** How long an address may keep quiet before the next is tried beside it. */
const STAGGER_MS = 150;

export interface DialFirstInit<T> {
  /** The likeliest first. */
  readonly addresses: readonly string[];
  /** Whether anybody listens there: rejects if not. */
  readonly probe: (address: string, options: { readonly signal: AbortSignal }) => Promise<void>;
  readonly dial: (address: string, options: { readonly signal: AbortSignal }) => Promise<T>;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** What the first successful dial gave. Rejects with the signal's reason, or `disconnected` naming every failure. */
export async function dialFirst<T>(init: DialFirstInit<T>): Promise<T> {
  const { addresses, clock, signal } = init;
  if (addresses.length === 0) throw disconnected("no address of the peer is known", { code: "unreachable" });
  const failures: Failure[] = [];
  using race = new ProbeRace(init);
  for (;;) {
    const found = await race.next();
    if (found === undefined) throw explainFailures([...failures, ...race.failures]);
    using timeout = timeoutSignal(clock, HANDSHAKE_TIMEOUT_MS, signal);
    try {
      return await init.dial(found.address, { signal: timeout.signal });
    } catch (error) {
      signal?.throwIfAborted();
      failures.push({ address: found.address, error });
    }
  }
}

interface Failure {
  readonly address: string;
  readonly error: unknown;
}

/** Probes the addresses in order, the next when one fails or keeps quiet for a while. Disposing it stops all probes. */
class ProbeRace<T> {
  readonly failures: Failure[] = [];
  readonly #init: DialFirstInit<T>;
  readonly #answering: string[] = [];
  readonly #over = new AbortController();
  readonly #signal: AbortSignal;
  #nextIndex = 0;
  #underWay = 0;
  #stagger: Timer | undefined;
  #wake: (() => void) | undefined;

  constructor(init: DialFirstInit<T>) {
    this.#init = init;
    this.#signal = init.signal === undefined ? this.#over.signal : AbortSignal.any([init.signal, this.#over.signal]);
    this.#signal.addEventListener("abort", () => this.#wake?.());
  }

  /** The next address that answered; undefined when none is left. Rejects with the signal's reason. */
  async next(): Promise<{ readonly address: string } | undefined> {
    for (;;) {
      this.#init.signal?.throwIfAborted();
      const address = this.#answering.shift();
      if (address !== undefined) return { address };
      if (this.#underWay === 0 && this.#nextIndex >= this.#init.addresses.length) return undefined;
      if (this.#underWay === 0 || this.#stagger === undefined) this.#probeNext();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  [Symbol.dispose](): void {
    this.#stopStagger();
    this.#over.abort();
  }

  #probeNext(): void {
    const address = this.#init.addresses[this.#nextIndex];
    this.#stopStagger();
    if (address === undefined || this.#signal.aborted) return;
    this.#nextIndex++;
    this.#underWay++;
    this.#stagger = this.#init.clock.setTimer(STAGGER_MS, () => this.#probeNext());
    const timeout = timeoutSignal(this.#init.clock, DIAL_TIMEOUT_MS, this.#signal);
    this.#init
      .probe(address, { signal: timeout.signal })
      .then(
        () => {
          this.#answering.push(address);
          // Whoever is dialled now decides whether more are needed.
          this.#stopStagger();
        },
        (error: unknown) => {
          this.failures.push({ address, error });
          this.#probeNext();
        },
      )
      .finally(() => {
        timeout[Symbol.dispose]();
        this.#underWay--;
        this.#wake?.();
      });
  }

  #stopStagger(): void {
    this.#stagger?.[Symbol.dispose]();
    this.#stagger = undefined;
  }
}

/**
 * Connects and closes again. Only dialling can tell about addresses without an IP address, and is as quick to tell about
 * loopback, which never keeps quiet: these are taken to answer.
 */
export function probeTcp(address: string, { signal }: { readonly signal: AbortSignal }): Promise<void> {
  const [, host, port] = /^\/(?:ip4|(?:ip6zone\/[^/]+\/)?ip6)\/([^/]+)\/tcp\/(\d+)$/.exec(address) ?? [];
  if (host === undefined || port === undefined || isLoopbackAddress(address)) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), autoSelectFamily: false });
    const settle = (then: () => void): void => {
      signal.removeEventListener("abort", onAbort);
      socket.on("error", () => {});
      socket.destroy();
      then();
    };
    const onAbort = (): void => settle(() => reject(signal.reason));
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => settle(resolve));
    socket.once("error", (error) => settle(() => reject(error)));
  });
}

/** One sentence for all. A peer that answered as another is the more telling reason, so it decides the code. */
function explainFailures(failures: readonly Failure[]): ClusterError {
  const wrongPeer = failures.find(({ error }) => error instanceof ClusterError && error.code === "wrong-peer");
  const reasons = failures.map(({ address, error }) => {
    const reason = messageOf(error);
    return reason.includes(address) ? reason : `${address}: ${reason}`;
  });
  return disconnected(reasons.join("; "), {
    code: wrongPeer === undefined ? "unreachable" : "wrong-peer",
    cause: failures[0]?.error,
  });
}
