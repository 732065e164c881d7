/** The processes that are killed, stopped, cut off and started again, each by a loop of its own. */
import { systemClock } from "../../src/base/system-clock.ts";
import { sleep } from "../../src/base/clock.ts";
import { CapmeshClient } from "../../src/client/client.ts";
import type { CapmeshProcess, Cluster, Ready } from "../support/processes.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { FarHost } from "./far-host.ts";
import { pick } from "./workload.ts";

export interface ActorInit {
  readonly name: string;
  readonly random: SeededRandom;
  readonly leaseMs: number;
  readonly start: () => CapmeshProcess;
  /** Between two faults, at least; at most three times as long. */
  readonly calmMs: number;
  /** Its first fault, so that a short test has it too. Default: any. */
  readonly first?: string | undefined;
  readonly say: (what: string) => void;
}

type Fault = () => Promise<void>;

/** One process, which is up when no fault is under way. */
export class Actor {
  readonly init: ActorInit;
  process: CapmeshProcess;
  readonly #faults: readonly (readonly [string, Fault])[];
  readonly counts = new Map<string, number>();

  constructor(init: ActorInit, more: Readonly<Record<string, Fault>> = {}) {
    this.init = init;
    this.process = init.start();
    this.#faults = Object.entries({
      kill: () => this.#kill(),
      stop: () => this.#stop(),
      term: () => this.#term(),
      ...more,
    });
  }

  /** One fault after the other, until the signal is aborted; the last one is over then. */
  async suffer(signal: AbortSignal): Promise<void> {
    const { random, calmMs, first, name, say } = this.init;
    for (;;) {
      try {
        await sleep(systemClock, calmMs * (1 + 2 * random.next()), { signal });
      } catch {
        return;
      }
      const begun = this.counts.size === 0 ? this.#faults.find(([each]) => each === first) : undefined;
      const [what = "", fault] = begun ?? this.#faults[pick(random, this.#faults.length)] ?? [];
      say(`${name}: ${what}`);
      this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
      await fault?.();
    }
  }

  async #kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
    await this.#startAgain();
  }

  /** Stands still, for less than a lease, or more. */
  async #stop(): Promise<void> {
    this.process.kill("SIGSTOP");
    await sleep(systemClock, this.init.leaseMs * (0.3 + 1.5 * this.init.random.next()));
    this.process.kill("SIGCONT");
  }

  async #term(): Promise<void> {
    const code = await this.process.stop();
    if (code !== 0) throw new Error(`${this.init.name} drained with exit code ${code}:\n${this.process.stderr}`);
    await this.#startAgain();
  }

  async #startAgain(): Promise<void> {
    await sleep(systemClock, 1_000 * this.init.random.next() ** 2);
    this.process = this.init.start();
    await this.process.ready;
  }
}

export interface Stage {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly leaseMs: number;
  readonly say: (what: string) => void;
}

/** The gateway, on ports that it keeps, and a client of its API. */
export async function startGateway({ cluster, random, leaseMs, say }: Stage, args: readonly string[]) {
  const common = ["--gateway", "--no-mdns", "--data", `${cluster.folder}/gateway`, "--grace", "1s", ...args];
  const lease = ["--lease", `${leaseMs}ms`];
  const first = cluster.start({
    args: [...common, ...lease, "--http", "127.0.0.1:0", "--listen", "/ip4/0.0.0.0/tcp/0"],
  });
  const ready = await first.ready;
  const again = ["--http", ready.http?.replace("http://", "") ?? "", "--listen", listenAddress(ready)];
  let isFirst = true;
  const actor = new Actor({
    name: "gateway",
    random,
    leaseMs,
    calmMs: leaseMs,
    first: "kill",
    say,
    start: () => {
      if (!isFirst) return cluster.start({ args: [...common, ...lease, ...again] });
      isFirst = false;
      return first;
    },
  });
  return { actor, ready, client: new CapmeshClient({ url: ready.http ?? "" }) };
}

/** On every address, with the port that it got. */
function listenAddress({ addrs }: Ready): string {
  const port = /\/tcp\/(\d+)/.exec(addrs[0] ?? "")?.[1];
  return `/ip4/0.0.0.0/tcp/${port}`;
}

/** A worker, on the far host if there is one given. */
export function startWorker(
  { cluster, random, leaseMs, say }: Stage,
  { name, dial, far, client }: { name: string; dial: string; far?: FarHost | undefined; client: CapmeshClient },
): Actor {
  const args = ["--dial", dial, "--no-mdns", "--slots", "2", "--data", `${cluster.folder}/${name}`, "--grace", "1s"];
  const init = { name, random, leaseMs, calmMs: leaseMs / 2, first: far === undefined ? "stop" : "cut", say };
  const start = () => cluster.start({ args, wrapper: far?.wrapper ?? [] });
  const actor: Actor = new Actor(
    { ...init, start },
    {
      drain: async () => {
        const { peerId } = await actor.process.ready;
        const signal = AbortSignal.timeout(leaseMs);
        // It, or the gateway, may be away: then nothing is drained.
        await client.drain(peerId, { grace: "500ms", signal }).catch(() => {});
        await sleep(systemClock, leaseMs * random.next());
        await admit(client, peerId);
      },
      ...(far && {
        cut: async () => {
          far.cut();
          await sleep(systemClock, leaseMs * (0.2 + 2 * random.next()));
          far.mend();
        },
      }),
    },
  );
  return actor;
}

/** Until the gateway has heard it. */
export async function admit(client: CapmeshClient, peerId: string): Promise<void> {
  for (;;) {
    try {
      return await client.admit(peerId, { signal: AbortSignal.timeout(2_000) });
    } catch {
      await sleep(systemClock, 100);
    }
  }
}
