/**
 * Everything goes wrong at once, with real processes: tasks are submitted while the gateway and its workers are killed,
 * stopped for longer than a lease, drained, cut off, and started again. When that is over, every task that was accepted
 * has exactly its runs settled, each with the right result, and none twice.
 */
import { readFile } from "node:fs/promises";
import { sleep } from "../../src/base/clock.ts";
import { ClusterError } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { ApiError } from "../../src/client/api-error.ts";
import type { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, guestPath } from "../support/processes.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { type Actor, admit, startGateway, startWorker } from "./actors.ts";
import type { FarHost } from "./far-host.ts";
import { type Guests, type Workload, makeWorkload, verify } from "./workload.ts";

export interface ChaosInit {
  readonly seconds: number;
  readonly seed: number;
  readonly leaseMs: number;
  /** Workers on this host, besides the one on the far host. */
  readonly workers: number;
  readonly far?: FarHost | undefined;
  readonly say: (what: string) => void;
}

export interface ChaosReport {
  readonly tasks: number;
  readonly runs: number;
  readonly attempts: number;
  readonly lost: number;
  readonly faults: Readonly<Record<string, number>>;
  /** Empty: all is as it has to be. */
  readonly wrong: readonly string[];
}

/** Submissions a second, about. */
const SUBMISSIONS_PER_SECOND = 4;
/** How long all that was accepted may take to end when nothing goes wrong any more. */
const SETTLE_MS_MAX = 120_000;
/** What it may take besides the time for faults. */
const OVERTIME_MS_MAX = 60_000 + SETTLE_MS_MAX;
const ASK_MS_MAX = 3_000;

/** Rejects when it takes far longer than it should. No process is left either way. */
export async function runChaos(init: ChaosInit): Promise<ChaosReport> {
  await using cluster = await Cluster.create();
  const { promise: late, reject } = Promise.withResolvers<never>();
  const msMax = init.seconds * 1_000 + OVERTIME_MS_MAX;
  using _timer = systemClock.setTimer(msMax, () => reject(new Error(`it is not over after ${msMax} ms`)));
  return await Promise.race([late, runOn(cluster, init)]);
}

async function runOn(cluster: Cluster, init: ChaosInit): Promise<ChaosReport> {
  const random = new SeededRandom(init.seed);
  const stage = () => ({ cluster, random: random.fork(), leaseMs: init.leaseMs, say: init.say });
  const gateway = await startGateway(stage(), []);
  const { client, ready } = gateway;
  const hosts = [...Array.from({ length: init.workers }, () => undefined), ...(init.far ? [init.far] : [])];
  const workers = hosts.map((far, index) =>
    startWorker(stage(), { name: far === undefined ? `worker-${index}` : "far", dial: ready.peerId, far, client }),
  );
  await Promise.all(workers.map(({ process }) => process.ready));
  const over = new AbortController();
  const suffering = [gateway.actor, ...workers].map((actor) => actor.suffer(over.signal));
  const broken = Promise.all(suffering);
  broken.catch(() => over.abort());
  using _timer = systemClock.setTimer(init.seconds * 1_000, () => over.abort());
  const guests = { hash: await readFile(guestPath("hash")), hello: await readFile(guestPath("hello")) };
  const accepted = await submitUntil(over.signal, client, random.fork(), guests);
  await broken;
  init.say(`${accepted.length} tasks were accepted; nothing goes wrong any more`);
  await Promise.all(workers.map(async ({ process }) => admit(client, (await process.ready).peerId)));
  return await report(client, accepted, [gateway.actor, ...workers]);
}

async function submitUntil(
  signal: AbortSignal,
  client: CapmeshClient,
  random: SeededRandom,
  guests: Guests,
): Promise<readonly Workload[]> {
  const accepted: Workload[] = [];
  for (let number = 1; !signal.aborted; number++) {
    const work = makeWorkload(number, random, guests, accepted);
    await submit(client, work);
    accepted.push(work);
    await sleep(systemClock, (2_000 / SUBMISSIONS_PER_SECOND) * random.next(), { signal }).catch(() => {});
  }
  return accepted;
}

/** Until it is known to be accepted: a gateway that went away in the middle may have taken it, or not. */
async function submit(client: CapmeshClient, { fields }: Workload): Promise<void> {
  for (;;) {
    try {
      await client.submit(fields, { signal: AbortSignal.timeout(ASK_MS_MAX) });
      return;
    } catch (error) {
      if (error instanceof ApiError && error.code === "id-taken") return;
      if (error instanceof ApiError && error.status < 500) throw error;
      await sleep(systemClock, 100);
    }
  }
}

async function report(
  client: CapmeshClient,
  accepted: readonly Workload[],
  actors: readonly Actor[],
): Promise<ChaosReport> {
  const wrong: string[] = [];
  const totals = { runs: 0, attempts: 0, lost: 0 };
  const giveUp = AbortSignal.timeout(SETTLE_MS_MAX);
  for (const work of accepted) {
    const { id } = work.fields;
    try {
      await client.waitForTask(id, { signal: giveUp });
      wrong.push(...(await verify(client, work)));
    } catch (error) {
      wrong.push(`${id}: it is not over, or cannot be read: ${reasonOf(error)}`);
      continue;
    }
    for await (const { attempts } of client.listRuns(id)) {
      totals.runs++;
      totals.attempts += attempts.length;
      totals.lost += attempts.filter(({ state }) => state === "lost").length;
    }
  }
  const faults: Record<string, number> = {};
  for (const { init, counts } of actors) {
    const kind = init.name === "gateway" ? "gateway" : "worker";
    for (const [what, count] of counts) faults[`${kind} ${what}`] = (faults[`${kind} ${what}`] ?? 0) + count;
  }
  if (wrong.length > 0)
    for (const { init, process } of actors) wrong.push(`${init.name} said:\n${tail(process.stderr)}`);
  return { tasks: accepted.length, ...totals, faults, wrong };
}

function reasonOf(error: unknown): string {
  if (error instanceof ClusterError) return `${error.type} ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

function tail(text: string): string {
  return text.split("\n").slice(-40).join("\n");
}
