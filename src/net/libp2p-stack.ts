/** libp2p as Capmesh uses it: which parts, and the settings that differ from its defaults, each with its reason. */
import { gossipsub, StrictSign, type GossipSub } from "@libp2p/gossipsub";
import { identify } from "@libp2p/identify";
import type { Libp2p } from "@libp2p/interface";
import type { MulticastDNSComponents } from "@libp2p/mdns";
import { noise } from "@libp2p/noise";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import type { Clock } from "../base/clock.ts";
import {
  CONNECTIONS_MAX,
  HANDSHAKE_TIMEOUT_MS,
  HEARTBEAT_BYTES_MAX,
  PING_EVERY_MS,
  PING_TIMEOUT_MS,
  STREAM_READ_BUFFER_BYTES_MAX,
  STREAM_WINDOW_BYTES_MAX,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Identity } from "./identity.ts";
import { Multicast } from "./multicast.ts";
import { membersTopicOf, protocolPrefixOf } from "./namespace.ts";

export interface Libp2pStackInit {
  readonly identity: Identity;
  readonly namespace: string;
  readonly listen: readonly string[];
  /** Whether multicast is used at all, and whether we answer. */
  readonly multicast: "off" | "ask" | "answer";
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface Libp2pStack {
  readonly libp2p: Libp2p;
  readonly gossip: GossipSub;
  readonly multicast: Multicast | undefined;
}

/** Overhead of a gossip message around its payload: signature, key, topic, control messages. */
const GOSSIP_OVERHEAD_BYTES = 64 * 1024;

/** Makes and starts it. Rejects when an address cannot be listened on. */
export async function startLibp2p(init: Libp2pStackInit): Promise<Libp2pStack> {
  const protocolPrefix = protocolPrefixOf(init.namespace);
  let multicast: Multicast | undefined;
  const libp2p = await createLibp2p({
    privateKey: init.identity.privateKey,
    nodeInfo: { name: "capmesh", version: "0", userAgent: "capmesh" },
    addresses: { listen: [...init.listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        streamOptions: {
          // A window larger than the read buffer resets a reader that is paused; so the one is kept well below the other.
          maxStreamWindowSize: STREAM_WINDOW_BYTES_MAX,
          maxReadBufferLength: STREAM_READ_BUFFER_BYTES_MAX,
        },
      }),
    ],
    connectionManager: {
      // By default 5 connections a second from one host, and 10 at once: too few for 20 workers that start together.
      inboundConnectionThreshold: CONNECTIONS_MAX,
      maxIncomingPendingConnections: 256,
      maxConnections: CONNECTIONS_MAX,
      dialTimeout: HANDSHAKE_TIMEOUT_MS,
      addressDialTimeout: HANDSHAKE_TIMEOUT_MS,
      // Coming back is the dialer's part, which knows more addresses.
      reconnectRetries: 0,
    },
    // Faster than this takes a peer that merely stalled for dead. The timeout adapts to what was seen; its maximum
    // keeps the whole within ten seconds.
    connectionMonitor: {
      protocolPrefix,
      pingInterval: PING_EVERY_MS,
      pingTimeout: { minTimeout: PING_TIMEOUT_MS, maxTimeout: PING_TIMEOUT_MS * 2 },
    },
    services: {
      identify: identify({ protocolPrefix }),
      ping: ping({ protocolPrefix }),
      gossip: gossipsub({
        globalSignaturePolicy: StrictSign,
        // A cluster of one publishes too.
        allowPublishToZeroTopicPeers: true,
        // Many peers behind one address are a cluster on one host, not an attack; and a peer that is late with what it
        // promised is a busy machine. Scores would shut out both, and then they are not seen any more.
        scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0 },
        // A star of twenty workers around a gateway: all of them in its mesh.
        D: 24,
        Dlo: 20,
        Dhi: 64,
        allowedTopics: [membersTopicOf(init.namespace)],
        maxInboundDataLength: 8 * (HEARTBEAT_BYTES_MAX + GOSSIP_OVERHEAD_BYTES),
      }),
      multicast: (components: MulticastDNSComponents) => {
        if (init.multicast === "off") return {};
        multicast = new Multicast({ ...init, components, answers: init.multicast === "answer" });
        return multicast;
      },
    },
  });
  return { libp2p, gossip: libp2p.services.gossip, multicast };
}
