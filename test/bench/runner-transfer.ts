/**
 * A module's way to a worker that lacks it: fetched in chunks, hashed and written to disk, against the same bytes sent
 * plain over a stream of the same kind. The sender is another process. Rounds take turns, and the median counts.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Digest } from "../../src/base/ids.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { ModuleClient } from "../../src/caps/module.ts";
import type { Host, OpenStreamTarget } from "../../src/net/host.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { ModuleCache } from "../../src/worker/module-cache.ts";
import { Program } from "../interop/programs.ts";
import { startHost } from "../net/host-harness.ts";
import { type Figure, percentile } from "./measure.ts";

const MODULE_BYTES = 30_000_000;
const ROUNDS = 7;

interface Sender {
  readonly digest: Digest;
  readonly module: OpenStreamTarget;
  readonly plain: OpenStreamTarget;
}

export async function benchTransfer(): Promise<Figure[]> {
  const script = fileURLToPath(new URL("./runner-transfer-process.ts", import.meta.url));
  await using program = new Program(process.execPath, [script, String(MODULE_BYTES)]);
  const sender = parseSender(JSON.parse(await program.firstLine()));
  await using modules = await startHost({ namespace: "bench-module", role: "worker" });
  await using plain = await startHost({ namespace: "bench-plain", role: "worker" });
  const fetched: number[] = [];
  const plainly: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    plainly.push(await takePlain(plain, sender.plain));
    fetched.push(await fetchModule(modules, sender));
  }
  const against = { name: "plain, over the same kind of stream", value: percentile(plainly, 0.5) };
  const value = percentile(fetched, 0.5);
  return [{ name: "30 MB module to a worker", unit: "MB/s", value, against, target: { atLeast: 0.5 } }];
}

/** MB per second. */
async function takePlain(host: Host, from: OpenStreamTarget): Promise<number> {
  const { stream } = await host.openStream(from);
  const ended = Promise.withResolvers<void>();
  let taken = 0;
  const startedAt = performance.now();
  stream.start({
    onBytes: (bytes) => void (taken += bytes.length),
    onEnd: (error) => (error === undefined ? ended.resolve() : ended.reject(error)),
  });
  await ended.promise;
  if (taken !== MODULE_BYTES) throw new Error(`${taken} bytes came`);
  return MODULE_BYTES / 1_000 / (performance.now() - startedAt);
}

async function fetchModule(host: Host, { digest, module }: Sender): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-transfer-"));
  try {
    const cache = await ModuleCache.open(folder, { clock: systemClock });
    const { stream } = await host.openStream(module);
    await using connection = new Connection({ stream, clock: systemClock, log: silentLog });
    using source = new ModuleClient(connection.bootstrap());
    const startedAt = performance.now();
    using _lease = await cache.acquire(digest, MODULE_BYTES, source, { signal: new AbortController().signal });
    return MODULE_BYTES / 1_000 / (performance.now() - startedAt);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function parseSender(value: unknown): Sender {
  return value as Sender;
}
