/**
 * What a running process is, to whoever started it: the command line, the demo, a test. `gateway-app.ts`,
 * `worker-app.ts` and `up-app.ts` make one from a Config and Powers; signals are the business of `cli/`.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Tracer } from "../base/tracing.ts";
import type { Random } from "../base/random.ts";

/** All that a process takes from the machine, handed in. Nothing below `app/` reaches for these itself. */
export interface Powers {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
}

/** The one line that says a process is ready. Its field names are part of the contract with users. */
export interface ReadyLine {
  readonly event: "ready";
  readonly role: "gateway" | "worker" | "up";
  readonly peerId: string;
  /** Base URL of the HTTP API. Gateways only. */
  readonly http?: string | undefined;
  /** What joins a worker to it: `<peerId>#<secret>`. Gateways only. */
  readonly dial?: string | undefined;
  /** Where the plain RPC endpoint listens, as `--rpc` takes it. Gateways with one only. */
  readonly rpc?: string | undefined;
  /** The file that holds the token of its API, where it made one. Gateways only. */
  readonly tokenFile?: string | undefined;
  /** libp2p addresses that are listened on, with the port that was taken. */
  readonly addrs: readonly string[];
}

/** A process's work, begun. It goes on until it is drained or aborted, or breaks. */
export interface RunningApp {
  readonly ready: ReadyLine;
  /** Settles when everything is closed: resolves after a drain or an abort, rejects when the process cannot go on. */
  readonly finished: Promise<void>;
  /**
   * Takes no more work, finishes what is under way or hands it back, and closes, all within the configured grace. Resolves
   * when that is done, or the grace is over: what could not be closed by then is left to the end of the process. Never
   * rejects. Idempotent.
   */
  drain(): Promise<void>;
  /** Closes now: guests are killed, connections cut. What was accepted is durable all the same. Never throws. */
  abort(): void;
}
