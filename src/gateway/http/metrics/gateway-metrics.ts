/**
 * What is measured of a gateway, in one registry: the parts that make it up tell these meters, and `/metrics` shows them.
 * Whoever composes the gateway makes one and hands its meters out; the HTTP server adds what it sees itself.
 *
 * Names follow the rules of Prometheus: base units (seconds, bytes), `_total` on what only grows. Labels are of fixed sets.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { OUTCOME_KINDS } from "../../../model/outcome.ts";
import type { ConnectionStats } from "../../../rpc/connection.ts";
import type { StoreMeter, StoreStats } from "../../../store/store-meter.ts";
import { REFUSAL_CAUSES, type RunMeter } from "../../run-meter.ts";

const WAIT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200];
const RUN_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200];
const MEMORY_BYTES = [64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304].map((kib) => kib * 1_024);
const STORE_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/** How runs end, besides being cancelled while they wait. */
const END_STATES = ["succeeded", "failed", "cancelled"] as const;

export class GatewayMetrics {
  readonly registry = new Registry();
  readonly runs: RunMeter = runMeter(this.registry);
  readonly store: StoreMeter = storeMeter(this.registry);

  /** Shows what the store has done, as it is when somebody asks. */
  showStore(stats: () => StoreStats): void {
    const registers = [this.registry];
    new Counter({
      name: "capmesh_store_commits_total",
      help: "Transactions of the store that wrote something.",
      registers,
      collect() {
        this.reset();
        this.inc(stats().commits);
      },
    });
    new Gauge({
      name: "capmesh_store_operations_pending",
      help: "Operations that wait for the store.",
      registers,
      collect() {
        this.set(stats().pending);
      },
    });
  }

  /** Shows the tables of all connections, by transport. */
  showRpc(transports: Readonly<Record<string, () => readonly ConnectionStats[]>>): void {
    const registers = [this.registry];
    new Gauge({
      name: "capmesh_rpc_connections",
      help: "RPC connections that are open, logged in or not.",
      labelNames: ["transport"],
      registers,
      collect() {
        for (const [transport, list] of Object.entries(transports)) this.set({ transport }, list().length);
      },
    });
    new Gauge({
      name: "capmesh_rpc_table_entries",
      help: "Entries of the four tables of all RPC connections.",
      labelNames: ["transport", "table"],
      registers,
      collect() {
        for (const [transport, list] of Object.entries(transports)) {
          const sums: ConnectionStats = list().reduce(addStats, NO_STATS);
          for (const table of TABLES) this.set({ transport, table }, sums[table]);
        }
      },
    });
  }
}

const NO_STATS: ConnectionStats = { questions: 0, answers: 0, exports: 0, imports: 0 };

const TABLES = ["questions", "answers", "exports", "imports"] as const;

function addStats(one: ConnectionStats, other: ConnectionStats): ConnectionStats {
  return {
    questions: one.questions + other.questions,
    answers: one.answers + other.answers,
    exports: one.exports + other.exports,
    imports: one.imports + other.imports,
  };
}

function runMeter(registry: Registry): RunMeter {
  const registers = [registry];
  const waited = new Histogram({
    name: "capmesh_run_wait_seconds",
    help: "Time from when a run was due until its first attempt began.",
    buckets: WAIT_SECONDS,
    registers,
  });
  const ran = new Histogram({
    name: "capmesh_attempt_duration_seconds",
    help: "Wall time of guests, by how they ended; attempts that never ran are left out.",
    labelNames: ["outcome"],
    buckets: RUN_SECONDS,
    registers,
  });
  const cpu = new Counter({
    name: "capmesh_guest_cpu_seconds_total",
    help: "CPU time of guests that have ended.",
    registers,
  });
  const memory = new Histogram({
    name: "capmesh_guest_memory_bytes",
    help: "Peak linear memory of guests that have ended.",
    buckets: MEMORY_BYTES,
    registers,
  });
  const attempts = new Counter({
    name: "capmesh_attempts_ended_total",
    help: "Attempts that have ended, by how.",
    labelNames: ["outcome"],
    registers,
  });
  const runs = new Counter({
    name: "capmesh_runs_finished_total",
    help: "Runs that are over with their last attempt, by state and how that one ended; ones cancelled before are not here.",
    labelNames: ["state", "outcome"],
    registers,
  });
  const refused = new Counter({
    name: "capmesh_results_refused_total",
    help: "Attempts that a worker came with too late, with a result or still running, by what had become of them.",
    labelNames: ["reason"],
    registers,
  });
  // What has not happened yet is 0, and not unknown.
  for (const reason of REFUSAL_CAUSES) refused.inc({ reason }, 0);
  for (const outcome of OUTCOME_KINDS) {
    attempts.inc({ outcome }, 0);
    runs.inc({ state: "failed", outcome }, 0);
  }
  runs.inc({ state: "succeeded", outcome: "exited" }, 0);
  return {
    started: (waitedMs) => {
      if (waitedMs !== undefined) waited.observe(Math.max(0, waitedMs) / 1_000);
    },
    ended: ({ outcome, usage, state }) => {
      attempts.inc({ outcome });
      if (END_STATES.some((each) => each === state)) runs.inc({ state, outcome });
      if (usage.wallMs <= 0) return;
      ran.observe({ outcome }, usage.wallMs / 1_000);
      cpu.inc(usage.cpuMs / 1_000);
      memory.observe(usage.memoryBytes);
    },
    refused: (reason) => refused.inc({ reason }),
  };
}

function storeMeter(registry: Registry): StoreMeter {
  const registers = [registry];
  const seconds = new Histogram({
    name: "capmesh_store_operation_duration_seconds",
    help: "Time from when an operation of the store was called until it was answered; writes are durable then.",
    labelNames: ["operation"],
    buckets: STORE_SECONDS,
    registers,
  });
  const refused = new Counter({
    name: "capmesh_store_operations_refused_total",
    help: "Operations that the store refused, as when its disk is full.",
    labelNames: ["operation"],
    registers,
  });
  // Looking up a label costs more than counting.
  const byOperation = new Map<string, { observe(value: number): void }>();
  return {
    answered: (operation, durationMs, isRefused) => {
      let histogram = byOperation.get(operation);
      if (histogram === undefined) {
        histogram = seconds.labels({ operation });
        byOperation.set(operation, histogram);
      }
      histogram.observe(durationMs / 1_000);
      if (isRefused) refused.inc({ operation });
    },
  };
}
