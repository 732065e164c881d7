/**
 * Where a peer may be: for each thing that a user may ask to dial, the addresses worth trying, from all that is known.
 * Every address is only a claim; whoever answers there proves its peer id in the handshake.
 */
import { lookup } from "node:dns/promises";
import { isIP, isIPv6 } from "node:net";
import { messageOf } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { MEMBERS_MAX, PEER_ADDRESSES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { isLoopbackAddress } from "./dial-addresses.ts";
import type { Multicast } from "./multicast.ts";
import type { RunFileContent, RunFolder } from "./run-file.ts";
import type { Where } from "./where.ts";

/** The IP addresses of a host name, in the order to try. Rejects when there are none. */
export type ResolveHost = (name: string, family: 0 | 4 | 6) => Promise<readonly string[]>;

export interface DiscoveryInit {
  /** Undefined when this machine's run files are not to be used. */
  readonly runFolder: RunFolder | undefined;
  /** Undefined when multicast is off. */
  readonly multicast: Multicast | undefined;
  /** The system's resolver if not given. */
  readonly resolveHost?: ResolveHost | undefined;
  readonly log: Log;
}

/** What is known of a target at one moment. */
export interface Candidates {
  readonly peerId: PeerId | undefined;
  /** Without duplicates, the likeliest first; at most PEER_ADDRESSES_MAX. */
  readonly addresses: readonly string[];
  /** Why a source of addresses gave none, for the user. */
  readonly notes: readonly string[];
}

export class Discovery implements Disposable {
  readonly #init: DiscoveryInit;
  readonly #resolveHost: ResolveHost;
  readonly #sightings = new Map<PeerId, readonly string[]>();
  readonly #lastGood = new Map<PeerId, string>();
  readonly #newsListeners = new Set<(peerId: PeerId) => void>();
  readonly #subscription: Disposable | undefined;
  #runFileTrouble: string | undefined;

  constructor(init: DiscoveryInit) {
    this.#init = init;
    this.#resolveHost = init.resolveHost ?? resolveBySystem;
    this.#subscription = init.multicast?.onSighting((sighting) =>
      this.#onSighting(sighting.peerId, sighting.addresses),
    );
  }

  /** Gathers what is known now. Never rejects: a source that fails is a note. */
  async candidates(where: Where): Promise<Candidates> {
    const peerId = where.kind === "host" ? undefined : where.peerId;
    const notes: string[] = [];
    const addresses = new Set<string>();
    const add = (more: readonly string[]): void => {
      for (const address of more) if (addresses.size < PEER_ADDRESSES_MAX) addresses.add(address);
    };
    if (peerId !== undefined) add(listOf(this.#lastGood.get(peerId)));
    if (where.kind !== "peer") add(await this.#resolve(where, notes));
    if (peerId !== undefined) {
      const runFile = await this.#readRunFile(peerId);
      // They come with the peer id, which is apart here.
      add((runFile?.addrs ?? []).map((address) => address.replace(/\/p2p\/[^/]+$/, "")));
      // An answer names all addresses of its sender, its loopback too, where on another machine somebody else answers.
      const seen = this.#sightings.get(peerId) ?? [];
      add([...seen].sort((a, b) => Number(isLoopbackAddress(a)) - Number(isLoopbackAddress(b))));
      if (addresses.size === 0) notes.push(this.#explainUnknown(peerId));
    }
    return { peerId, addresses: [...addresses], notes };
  }

  /** The join secret for this peer as its run file has it: known to whoever may read that file. */
  async secretOf(peerId: PeerId): Promise<string | undefined> {
    return (await this.#readRunFile(peerId))?.secret;
  }

  /** The address led to the peer: it is tried first next time. */
  remember(peerId: PeerId, address: string): void {
    if (this.#lastGood.size >= MEMBERS_MAX && !this.#lastGood.has(peerId)) this.#lastGood.clear();
    this.#lastGood.set(peerId, address.replace(/\/p2p\/[^/]+$/, ""));
  }

  /** Looks for peers by multicast until disposed; nothing if multicast is off. */
  hunt(): Disposable {
    return this.#init.multicast?.hunt() ?? { [Symbol.dispose]: () => undefined };
  }

  /** Called when multicast shows a peer at an address that was not known for it, until disposed. */
  onNews(listener: (peerId: PeerId) => void): Disposable {
    this.#newsListeners.add(listener);
    return { [Symbol.dispose]: () => this.#newsListeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#subscription?.[Symbol.dispose]();
    this.#newsListeners.clear();
  }

  #onSighting(peerId: PeerId, addresses: readonly string[]): void {
    const known = this.#sightings.get(peerId) ?? [];
    if (!this.#sightings.has(peerId) && this.#sightings.size >= MEMBERS_MAX) return;
    this.#sightings.set(peerId, addresses);
    if (addresses.every((address) => known.includes(address))) return;
    for (const listener of this.#newsListeners) listener(peerId);
  }

  async #resolve(where: Where & { kind: "multiaddr" | "host" }, notes: string[]): Promise<string[]> {
    const name =
      where.kind === "host" ? { host: where.host, port: where.port, family: 0 as const } : dnsPartOf(where.address);
    if (name === undefined) return where.kind === "multiaddr" ? [where.address] : [];
    if (isIP(name.host.replace(/%.+$/, "")) !== 0) return [multiaddrOf(name.host, name.port)];
    try {
      const ips = await this.#resolveHost(name.host, name.family);
      return ips.map((ip) => multiaddrOf(ip, name.port));
    } catch (error) {
      notes.push(`the name ${name.host} does not resolve: ${messageOf(error)}`);
      return [];
    }
  }

  async #readRunFile(peerId: PeerId): Promise<RunFileContent | undefined> {
    try {
      return await this.#init.runFolder?.read(peerId);
    } catch (error) {
      const trouble = messageOf(error);
      if (trouble !== this.#runFileTrouble) this.#init.log.warn(trouble, { error });
      this.#runFileTrouble = trouble;
      return undefined;
    }
  }

  #explainUnknown(peerId: PeerId): string {
    const { multicast } = this.#init;
    if (multicast === undefined) {
      return `where ${peerId} is, is not known: no gateway of this user runs here, and multicast is off; dial an address`;
    }
    return multicast.trouble ?? `where ${peerId} is, is not known yet: it has not answered by multicast`;
  }
}

/** Host, port and family of a multiaddr that names a host; undefined for others. */
function dnsPartOf(address: string): { host: string; port: number; family: 0 | 4 | 6 } | undefined {
  const [, kind, host, port] = /^\/(dns|dns4|dns6)\/([^/]+)\/tcp\/(\d+)$/.exec(address) ?? [];
  if (host === undefined || port === undefined) return undefined;
  return { host, port: Number(port), family: kind === "dns4" ? 4 : kind === "dns6" ? 6 : 0 };
}

function multiaddrOf(ip: string, port: number): string {
  const [bare, zone] = ip.split("%");
  if (bare === undefined || !isIPv6(bare)) return `/ip4/${ip}/tcp/${port}`;
  return zone === undefined ? `/ip6/${bare}/tcp/${port}` : `/ip6zone/${zone}/ip6/${bare}/tcp/${port}`;
}

function listOf<T>(value: T | undefined): T[] {
  return value === undefined ? [] : [value];
}

async function resolveBySystem(name: string, family: 0 | 4 | 6): Promise<readonly string[]> {
  const found = await lookup(name, { all: true, family });
  return found.map(({ address }) => address);
}
