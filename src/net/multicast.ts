/**
 * Finding peers of the namespace on the local network by multicast DNS.
 *
 * A gateway answers; a worker asks, and only while it looks for somebody, for the traffic grows with the cube of the
 * peers that both ask and answer. Every answer is told, also about a peer known before: one that came back on another
 * port shows nowhere else.
 *
 * A network without multicast is a warning that says the cure, never an error: there are other ways to be found.
 */
import { networkInterfaces } from "node:os";
import { start, stop, type ComponentLogger, type PeerDiscovery } from "@libp2p/interface";
import { mdns, type MulticastDNSComponents } from "@libp2p/mdns";
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { MDNS_QUERY_FIRST_MS, MDNS_QUERY_MAX_MS, PEER_ADDRESSES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { serviceTagOf } from "./namespace.ts";

/** A peer as one answer showed it. The addresses are claims: only the handshake proves who is there. */
export interface Sighting {
  readonly peerId: PeerId;
  readonly addresses: readonly string[];
}

export interface MulticastInit {
  readonly components: {
    readonly addressManager: MulticastDNSComponents["addressManager"];
    readonly logger: ComponentLogger;
  };
  readonly namespace: string;
  /** Whether to be found. Who only looks for others does not answer. */
  readonly answers: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What we use of the library's socket, beyond its interface. */
interface MulticastSocket {
  query(packet: object, callback: (error: unknown) => void): void;
  on(event: "warning" | "error", listener: (error: unknown) => void): void;
}

/** The library asks on its own at this pace; asking is ours, so: practically never. */
const LIBRARY_QUERY_MS = 2 ** 31 - 1;

export class Multicast {
  readonly #init: MulticastInit;
  readonly #serviceTag: string;
  readonly #service: PeerDiscovery;
  readonly #backoff: Backoff;
  readonly #listeners = new Set<(sighting: Sighting) => void>();
  readonly #hunts = new Set<object>();
  #socket: MulticastSocket | undefined;
  #hasStarted = false;
  #isOpen = false;
  /** Opening and closing the socket, one after the other. Never rejects. */
  #work: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #trouble: string | undefined;

  constructor(init: MulticastInit) {
    this.#init = init;
    this.#serviceTag = serviceTagOf(init.namespace);
    this.#backoff = new Backoff({ firstMs: MDNS_QUERY_FIRST_MS, maxMs: MDNS_QUERY_MAX_MS, random: init.random });
    this.#service = mdns({ serviceTag: this.#serviceTag, broadcast: init.answers, interval: LIBRARY_QUERY_MS })(
      init.components,
    );
    this.#service.addEventListener("peer", ({ detail }) => {
      const peerId = parsePeerId(detail.id.toString());
      if (peerId === undefined) return;
      const addresses = detail.multiaddrs.slice(0, PEER_ADDRESSES_MAX).map((address) => address.toString());
      for (const listener of this.#listeners) listener({ peerId, addresses });
    });
  }

  /** Why multicast does not work here, if that is known. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Called by libp2p. Who answers listens from now on; others once they look for somebody. */
  async start(): Promise<void> {
    this.#hasStarted = true;
    if (this.#hunts.size > 0) this.#ask();
    await this.#reconcile();
  }

  /** Called by libp2p. */
  async stop(): Promise<void> {
    this.#hasStarted = false;
    this.#stopAsking();
    await this.#reconcile();
  }

  /** Tells every answer that comes in, until disposed. Answers come only while somebody asks; see `hunt`. */
  onSighting(listener: (sighting: Sighting) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Asks again and again, at growing intervals, until disposed. Several may hunt at once. */
  hunt(): Disposable {
    const hunt = {};
    this.#hunts.add(hunt);
    if (this.#hunts.size === 1 && this.#hasStarted) {
      this.#backoff.reset();
      this.#ask();
    }
    return { [Symbol.dispose]: () => this.#endHunt(hunt) };
  }

  #endHunt(hunt: object): void {
    if (!this.#hunts.delete(hunt) || this.#hunts.size > 0) return;
    this.#stopAsking();
    // Who does not answer has no use for the socket now: every packet on it costs.
    void this.#reconcile();
  }

  #ask(): void {
    void this.#reconcile().then(() => {
      if (this.#hunts.size === 0 || !this.#hasStarted) return;
      this.#query();
      this.#stopAsking();
      this.#timer = this.#init.clock.setTimer(this.#backoff.nextMs(), () => this.#ask());
    });
  }

  #stopAsking(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #query(): void {
    this.#socket?.query({ questions: [{ name: this.#serviceTag, type: "PTR" }] }, (error) => {
      if (error !== null && error !== undefined) this.#onTrouble(error);
      else this.#trouble = undefined;
    });
  }

  /** Brings the socket to where it should be: open while we run and answer or ask. */
  #reconcile(): Promise<void> {
    this.#work = this.#work.then(async () => {
      const shouldBeOpen = this.#hasStarted && (this.#init.answers || this.#hunts.size > 0);
      if (shouldBeOpen === this.#isOpen) return;
      this.#isOpen = shouldBeOpen;
      try {
        if (shouldBeOpen) await this.#open();
        else await this.#close();
      } catch (error) {
        this.#onTrouble(error);
      }
    });
    return this.#work;
  }

  async #open(): Promise<void> {
    await start(this.#service);
    this.#socket = decodeSocket(this.#service);
    this.#socket?.on("warning", (error) => this.#onTrouble(error));
    this.#socket?.on("error", (error) => this.#onTrouble(error));
    // The first question also shows whether multicast leaves the machine at all.
    this.#query();
  }

  async #close(): Promise<void> {
    this.#socket = undefined;
    await stop(this.#service);
  }

  #onTrouble(error: unknown): void {
    const trouble = explain(error);
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#init.log.warn(trouble, { error: messageOf(error) });
  }
}

function explain(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENETUNREACH" || code === "EHOSTUNREACH" || code === "EADDRNOTAVAIL") {
    const names = Object.entries(networkInterfaces());
    const external = names.find(([, addresses]) => addresses?.some((one) => one.family === "IPv4" && !one.internal));
    return (
      "multicast does not leave this machine, there is no route for it: peers are not found by themselves; " +
      `run "ip route add 224.0.0.0/4 dev ${external?.[0] ?? "<interface>"}", or dial an address`
    );
  }
  if (code === "EADDRINUSE" || code === "EACCES") {
    return "multicast is not available, UDP port 5353 is taken: peers are not found by themselves; dial an address";
  }
  return "multicast works only in part on this machine: peers may not be found by themselves";
}

/** The socket inside the library's service, while it runs. */
function decodeSocket(service: object): MulticastSocket | undefined {
  if (!("mdns" in service)) return undefined;
  const socket = service.mdns;
  if (typeof socket !== "object" || socket === null || !("query" in socket) || !("on" in socket)) return undefined;
  return typeof socket.query === "function" && typeof socket.on === "function"
    ? (socket as MulticastSocket)
    : undefined;
}
