/**
 * Discovery packets on the local network, as they arrive: who asks for gateways, who answers, of whatever namespace. It
 * asks now and then too, so that something is to be seen, and tells how long each peer took to answer.
 *
 * What comes in is a stranger's: texts are bounded, and a packet that makes no sense is nobody's.
 */
import multicastDns, { type QueryPacket, type ResponsePacket } from "multicast-dns";
import type { Clock } from "../base/clock.ts";
import { failed, messageOf } from "../base/errors.ts";
import { type PeerId, parsePeerId } from "../base/ids.ts";
import { DISCOVERY_ADDRESSES_SHOWN, DISCOVERY_ASK_EVERY_MS } from "../base/limits.ts";
import { SERVICE_TAG_PATTERN, serviceTagOf } from "./namespace.ts";

export interface DiscoveryPacket {
  /** `query`: somebody looks for gateways; `answer`: a gateway says where it is. */
  readonly type: "query" | "answer";
  /** As packets carry it: one with other characters than a-z, 0-9 and - goes by a hash, as `x--…`. */
  readonly namespace: string;
  /** Of the packet. */
  readonly bytes: number;
  /** Who sent it, by its network address. */
  readonly from: string;
  /** Of an answer. */
  readonly peer?: PeerId | undefined;
  readonly addresses: readonly string[];
  /** Of the first answer to a question of ours: how long it took. */
  readonly distanceMs?: number | undefined;
}

export interface DiscoveryWatchInit {
  /** Whom to ask for. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly onPacket: (packet: DiscoveryPacket) => void;
  /** Multicast does not work here, or not any more. */
  readonly onTrouble: (reason: string) => void;
}

/** Listens until disposed. Rejects with `failed`, code `no-multicast`, when the port cannot be shared. */
export async function watchDiscovery(init: DiscoveryWatchInit): Promise<Disposable> {
  const { clock, namespace } = init;
  const socket = multicastDns();
  const { promise: isReady, resolve, reject } = Promise.withResolvers<void>();
  socket.on("ready", () => resolve());
  const onError = (error: unknown): void => {
    reject(failed(`discovery packets cannot be listened to: ${messageOf(error)}`, { code: "no-multicast" }));
    init.onTrouble(messageOf(error));
  };
  socket.on("error", onError).on("warning", onError);
  let askedMs = -Infinity;
  const answered = new Set<string>();
  const tell = (packet: QueryPacket | ResponsePacket, size: number, from: string): void => {
    for (const seen of readPacket(packet)) {
      const isFirst = seen.peer !== undefined && !answered.has(seen.peer);
      if (seen.peer !== undefined) answered.add(seen.peer);
      const distanceMs = isFirst && seen.namespace === namespace ? clock.monotonicMs() - askedMs : undefined;
      init.onPacket({ ...seen, bytes: size, from, distanceMs });
    }
  };
  socket.on("query", (packet, { size, address }) => tell(packet, size, address));
  socket.on("response", (packet, { size, address }) => tell(packet, size, address));
  try {
    await isReady;
  } catch (thrown) {
    socket.destroy();
    throw thrown;
  }
  let timer: Disposable | undefined;
  const ask = (): void => {
    answered.clear();
    askedMs = clock.monotonicMs();
    socket.query({ questions: [{ name: serviceTagOf(namespace), type: "PTR" }] }, (error) => {
      if (error !== null) init.onTrouble(error.message);
    });
    timer = clock.setTimer(DISCOVERY_ASK_EVERY_MS, ask);
  };
  ask();
  return {
    [Symbol.dispose]: () => {
      timer?.[Symbol.dispose]();
      socket.destroy();
    },
  };
}

type Seen = Omit<DiscoveryPacket, "bytes" | "from" | "distanceMs">;

/** What of a packet is ours: one entry for each namespace that it asks for, or peer that it tells of. */
function readPacket(packet: QueryPacket | ResponsePacket): readonly Seen[] {
  if (packet.type === "query") {
    return (packet.questions ?? []).flatMap(({ name }) => {
      const namespace = namespaceOf(name);
      return namespace === undefined ? [] : [{ type: "query" as const, namespace, addresses: [] }];
    });
  }
  const { answers = [], additionals = [] } = packet;
  const namespace = answers.map(({ name }) => namespaceOf(name)).find((name) => name !== undefined);
  if (namespace === undefined) return [];
  const addresses = [...answers, ...additionals].flatMap((record) =>
    record.type === "TXT" ? textsOf(record.data) : [],
  );
  const byPeer = Map.groupBy(addresses, (address) => parsePeerId(/\/p2p\/([^/]+)$/.exec(address)?.[1] ?? ""));
  return Array.from(byPeer, ([peer, own]) => ({
    type: "answer" as const,
    namespace,
    peer,
    addresses: own.slice(0, DISCOVERY_ADDRESSES_SHOWN),
  }));
}

function namespaceOf(name: string): string | undefined {
  return SERVICE_TAG_PATTERN.exec(name)?.[1];
}

function textsOf(data: unknown): readonly string[] {
  const parts: readonly unknown[] = Array.isArray(data) ? data : [data];
  return parts.flatMap((part) => {
    const text = part instanceof Uint8Array ? new TextDecoder().decode(part) : String(part);
    return text.startsWith("dnsaddr=") ? [text.slice("dnsaddr=".length)] : [];
  });
}
