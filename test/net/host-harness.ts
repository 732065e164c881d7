/** Hosts on loopback for tests, and the ends of streams between them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/system-clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Random } from "../../src/base/random.ts";
import { Host, type HostInit } from "../../src/net/host.ts";
import { makeIdentity } from "../../src/net/identity.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";

export const LOOPBACK = "/ip4/127.0.0.1/tcp/0";

export const testRandom: Random = { next: () => Math.random() };

/** A host of its own identity; on loopback, at a free port, unless said otherwise. */
export async function startHost(init: Partial<HostInit> = {}): Promise<Host> {
  return Host.start({
    identity: await makeIdentity(),
    namespace: "test",
    role: "gateway",
    listen: init.role === "worker" ? [] : [LOOPBACK],
    mdns: false,
    clock: systemClock,
    random: testRandom,
    log: silentLog,
    ...init,
  });
}

/** The addresses of a host as `openStream` wants them. */
export function addressesOf(host: Host): string[] {
  return host.addrs().map((address) => address.replace(/\/p2p\/.*$/, ""));
}

/** Takes streams: resolves with each in turn. */
export async function acceptStreams(host: Host): Promise<() => Promise<ByteStream>> {
  const streams: ByteStream[] = [];
  const waiters: ((stream: ByteStream) => void)[] = [];
  await host.onStream((stream) => {
    const waiter = waiters.shift();
    if (waiter === undefined) streams.push(stream);
    else waiter(stream);
  });
  return () => {
    const stream = streams.shift();
    return stream === undefined ? new Promise((resolve) => waiters.push(resolve)) : Promise.resolve(stream);
  };
}

/** A folder that is removed again. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "capmesh-net-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Polls until the condition holds; the test's own timeout is the limit. */
export async function until(condition: () => boolean | Promise<boolean>, everyMs = 20): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, everyMs));
}
