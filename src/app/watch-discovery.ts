/** Discovery packets for whoever wants to see them: `capmesh cluster watch`. */
export { type DiscoveryPacket, watchDiscovery } from "../net/discovery-watch.ts";
