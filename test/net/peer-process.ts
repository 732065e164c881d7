/**
 * A peer as a process of its own, for tests that kill, stop or isolate it. Its argument says, as JSON, what it is and
 * whom it dials; it tells what happens as lines of JSON on stdout.
 */
import { z } from "zod";
import { systemClock } from "../../src/base/system-clock.ts";
import type { Log } from "../../src/base/log.ts";
import { messageOf } from "../../src/base/errors.ts";
import { Dialer } from "../../src/net/dialer.ts";
import { Discovery } from "../../src/net/discovery.ts";
import { Host } from "../../src/net/host.ts";
import { loadIdentity, makeIdentity } from "../../src/net/identity.ts";
import { RunFolder } from "../../src/net/run-file.ts";
import { parseWhere } from "../../src/net/where.ts";

const optionsSchema = z.object({
  role: z.enum(["gateway", "worker"]),
  namespace: z.string(),
  mdns: z.boolean(),
  /** Where the identity is kept; none: a new one. */
  folder: z.string().optional(),
  listen: z.union([z.literal("default"), z.array(z.string())]).optional(),
  dial: z.array(z.string()).optional(),
  runFolder: z.string().optional(),
});

function tell(event: string, fields: object = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

const log: Log = {
  debug: () => undefined,
  info: (message) => tell("log", { level: "info", message }),
  warn: (message) => tell("log", { level: "warn", message }),
  error: (message, fields) => tell("log", { level: "error", message, error: messageOf(fields?.error) }),
  child: () => log,
};

const options = optionsSchema.parse(JSON.parse(process.argv[2] ?? "{}"));
const random = { next: () => Math.random() };
const host = await Host.start({
  identity: options.folder === undefined ? await makeIdentity() : await loadIdentity(options.folder),
  namespace: options.namespace,
  role: options.role,
  listen: options.listen ?? (options.role === "gateway" ? ["/ip4/0.0.0.0/tcp/0"] : []),
  mdns: options.mdns,
  clock: systemClock,
  random,
  log,
});
host.membership.announce({
  role: options.role,
  version: "0.0.0",
  labels: { pid: `${process.pid}` },
  slots: 1,
  busy: 0,
});
await host.onStream((stream, remote) => {
  tell("stream", { peerId: remote.peerId });
  // An echo, so that the other side sees life.
  stream.start({
    onBytes: (bytes) => void stream.write(bytes),
    onEnd: (error) => tell("ended", { peerId: remote.peerId, error: error?.message }),
  });
});
host.onPeerGone((peerId) => tell("gone", { peerId }));

if (options.dial !== undefined) {
  const runFolder =
    options.runFolder === undefined
      ? undefined
      : new RunFolder({ folder: options.runFolder, namespace: options.namespace });
  new Dialer({
    host,
    discovery: new Discovery({ runFolder, multicast: host.multicast, log }),
    targets: options.dial.map((text) => parseWhere(text)),
    clock: systemClock,
    random,
    log,
    onConnected: ({ stream, remotePeerId, secret }) =>
      new Promise((resolve) => {
        stream.start({
          onBytes: () => tell("connected", { peerId: remotePeerId, secret }),
          onEnd: (error) => {
            tell("disconnected", { peerId: remotePeerId, error: error?.message });
            resolve();
          },
        });
        stream.write(Buffer.from("hello"));
      }),
  });
}

tell("ready", { peerId: host.peerId, addrs: host.addrs() });
process.on("SIGTERM", () => void host.stop().then(() => process.exit(0)));
// A test that is gone takes its peers with it.
process.stdin.on("end", () => process.exit(0)).resume();
