/** What may go wrong in a simulation: the kinds, and one of a kind as it is drawn. `sim-faults.ts` carries them out. */
import { LEASE_MS } from "../../src/base/limits.ts";
import type { DiskTrouble } from "../support/memory-store.ts";
import type { Dice } from "./dice.ts";

/** Which way of a link is meant. */
export type CutKind = "both" | "to-gateway" | "to-worker";

/** How guests end on a machine that is out of order, whatever they do. */
export type Sickness = "lost" | "trapped";

export type FaultAction =
  | {
      readonly kind: "kill-gateway";
      /** While a transaction is on its way to the disk. */
      readonly isMidCommit: boolean;
      /** The share of the transactions under way that are durable. */
      readonly durable: number;
      readonly downMs: number;
    }
  | { readonly kind: "drain-gateway"; readonly downMs: number }
  /** Killed; the next one finds a clock that is ahead by as much, or right. `rightAfterMs`: that is noticed, and mended. */
  | {
      readonly kind: "restart-gateway";
      readonly durable: number;
      readonly downMs: number;
      readonly aheadMs: number;
      readonly rightAfterMs: number | undefined;
    }
  | { readonly kind: "break-store"; readonly durable: number; readonly killAfterMs: number; readonly downMs: number }
  | { readonly kind: "trouble-store"; readonly trouble: DiskTrouble; readonly ms: number }
  /** Each group of the store's takes so much longer. */
  | { readonly kind: "slow-store"; readonly groupMs: number; readonly ms: number }
  | { readonly kind: "hide-blobs"; readonly ms: number }
  /** `backAfterMs`: it is put back again, by as much. */
  | { readonly kind: "jump-clock"; readonly ms: number; readonly backAfterMs?: number }
  | { readonly kind: "pause-gateway"; readonly ms: number }
  | {
      readonly kind: "kill-worker";
      readonly worker: number;
      readonly failsPower: boolean;
      readonly wipesDisk: boolean;
      readonly downMs: number;
    }
  | { readonly kind: "drain-worker"; readonly worker: number; readonly downMs: number }
  | { readonly kind: "pause-worker"; readonly worker: number; readonly ms: number }
  | { readonly kind: "cut"; readonly worker: number; readonly way: CutKind; readonly ms: number }
  /** What is sent meanwhile arrives so much later. */
  | {
      readonly kind: "lag";
      readonly worker: number;
      readonly way: CutKind;
      readonly lagMs: number;
      readonly ms: number;
    }
  /** A connection is gone for one end. The other is told, or goes on as if nothing were until it sends something. */
  | { readonly kind: "drop"; readonly worker: number; readonly end: "gateway" | "worker"; readonly isTold: boolean }
  | { readonly kind: "fill-disk"; readonly worker: number; readonly ms: number }
  | { readonly kind: "jump-worker-clock"; readonly worker: number; readonly ms: number }
  | { readonly kind: "sicken-worker"; readonly worker: number; readonly sickness: Sickness; readonly ms: number };

/** Those that are drawn with others; what a gateway's clock says at its start is drawn apart. */
export type FaultKind = Exclude<FaultAction["kind"], "restart-gateway">;

export const FAULT_KINDS: readonly FaultKind[] = [
  "kill-gateway",
  "drain-gateway",
  "break-store",
  "trouble-store",
  "slow-store",
  "hide-blobs",
  "jump-clock",
  "pause-gateway",
  "kill-worker",
  "drain-worker",
  "pause-worker",
  "fill-disk",
  "cut",
  "lag",
  "drop",
  "jump-worker-clock",
  "sicken-worker",
];

/** From which the kinds of a scenario are drawn: what is most likely in the world, and matters most, is drawn more often. */
export const FAULT_DRAWS: readonly FaultKind[] = [
  ...FAULT_KINDS,
  "kill-gateway",
  "kill-worker",
  "kill-worker",
  "kill-worker",
  "pause-worker",
  "cut",
];

/** The longest that a group of the store's takes more, where that is what goes wrong. */
export const SLOW_GROUP_MS_MAX = 8_000;

/** Of the jumps of the clock: those that go far ahead, and are taken back. */
const FAR_JUMPS = 0.15;

const WAYS: readonly CutKind[] = ["both", "to-gateway", "to-worker"];

/** `isLong`: what lasts, lasts for longer than a lease. */
export function faultOf(dice: Dice, kind: FaultKind, workers: number, isLong = false): FaultAction {
  const worker = dice.below(workers);
  const downMs = dice.between(20, 25_000);
  // Most are about as long as pings, graces and leases are.
  const usualMs = dice.chance(0.3) ? dice.between(20, 2_000) : dice.between(2_000, 25_000);
  const ms = isLong ? 1.5 * LEASE_MS + usualMs : usualMs;
  const durable = dice.random.next();
  switch (kind) {
    case "kill-gateway":
      return { kind, isMidCommit: dice.chance(0.7), durable, downMs };
    case "drain-gateway":
      return { kind, downMs };
    case "break-store":
      return { kind, durable, killAfterMs: dice.between(1, 5_000), downMs };
    case "trouble-store":
      return { kind, trouble: dice.pick(["busy", "full"]), ms: dice.between(10, 12_000) };
    case "slow-store":
      return { kind, groupMs: dice.between(200, SLOW_GROUP_MS_MAX), ms };
    case "hide-blobs":
      // For longer, and what needs them fails, as it should.
      return { kind, ms: dice.between(20, 15_000) };
    case "jump-clock":
      if (dice.chance(FAR_JUMPS))
        return { kind, ms: dice.between(300_000, 1_200_000), backAfterMs: dice.between(200, 8_000) };
      return { kind, ms: (dice.chance(0.5) ? 1 : -1) * dice.between(100, 40_000) };
    case "pause-gateway":
      return { kind, ms };
    case "kill-worker":
      return { kind, worker, failsPower: dice.chance(0.3), wipesDisk: dice.chance(0.2), downMs };
    case "drain-worker":
      return { kind, worker, downMs };
    case "pause-worker":
      return { kind, worker, ms };
    case "fill-disk":
      return { kind, worker, ms: dice.between(100, 8_000) };
    case "cut":
      return { kind, worker, way: dice.pick(WAYS), ms };
    case "lag":
      // From a little more than a ping may take to more than a lease lasts.
      return { kind, worker, way: dice.pick(WAYS), lagMs: dice.between(500, 20_000), ms: dice.between(100, 10_000) };
    case "drop":
      return { kind, worker, end: dice.pick(["gateway", "worker"]), isTold: dice.chance(0.3) };
    case "jump-worker-clock":
      return { kind, worker, ms: (dice.chance(0.5) ? 1 : -1) * dice.between(100, 1_000_000_000) };
    case "sicken-worker":
      return { kind, worker, sickness: dice.pick(["lost", "trapped"]), ms };
  }
}
