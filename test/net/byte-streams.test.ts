import { join } from "node:path";
import { failed } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { connectSocket, listenSocket, type SocketAddress } from "../../src/net/socket-endpoint.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import { describeByteStream, type ByteStreamPair } from "../support/byte-stream-contract.ts";
import { memoryStreamPair } from "../support/memory-byte-stream.ts";
import { acceptStreams, addressesOf, startHost, temporaryFolder } from "./host-harness.ts";

const MIB = 1024 * 1024;

async function openSocketPair(address: SocketAddress): Promise<ByteStreamPair> {
  const accepted = Promise.withResolvers<ByteStream>();
  const listener = await listenSocket({ address, clock: systemClock, log: silentLog, onStream: accepted.resolve });
  const a = await connectSocket({ address: listener.address, clock: systemClock });
  const b = await accepted.promise;
  return {
    a,
    b,
    async [Symbol.asyncDispose]() {
      a.abort(failed("test over"));
      b.abort(failed("test over"));
      await listener.close();
    },
  };
}

describeByteStream("the in-memory stream of the tests", {
  open: async () => memoryStreamPair(),
  underWayBytesMax: 4 * MIB,
  catchesReceiverFaults: false,
});

describeByteStream("TCP", {
  open: () => openSocketPair({ kind: "tcp", host: "127.0.0.1", port: 0 }),
  // The kernel's buffers on loopback grow to several MiB on each side.
  underWayBytesMax: 32 * MIB,
  catchesReceiverFaults: true,
});

describeByteStream("a unix socket", {
  open: async () => {
    const folder = await temporaryFolder();
    const pair = await openSocketPair({ kind: "unix", path: join(folder.path, "rpc") });
    return {
      ...pair,
      async [Symbol.asyncDispose]() {
        await pair[Symbol.asyncDispose]();
        await folder[Symbol.asyncDispose]();
      },
    };
  },
  underWayBytesMax: 8 * MIB,
  catchesReceiverFaults: true,
});

describeByteStream("a libp2p stream", {
  open: async () => {
    const stack = new AsyncDisposableStack();
    const gateway = stack.use(await startHost());
    const worker = stack.use(await startHost({ role: "worker" }));
    const accept = await acceptStreams(gateway);
    const { stream: a } = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    const b = await accept();
    return { a, b, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  },
  underWayBytesMax: 16 * MIB,
  catchesReceiverFaults: true,
});
