/**
 * The other process of the RPC benchmark: `rpc-server-process.ts tcp | libp2p | json-lines`. Prints where it listens, as one
 * line of JSON.
 */
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { listenSocket } from "../../src/net/socket-endpoint.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { InteropServer } from "../interop/interop-server.ts";
import { addressesOf, startHost } from "../net/host-harness.ts";

function serveStream(stream: ByteStream): Connection {
  using bootstrap = new InteropServer().capability();
  return new Connection({ stream, bootstrap, clock: systemClock, log: silentLog });
}

/** The same two methods, as a line of JSON each way. Chunks are base64. */
function serveJsonLines(socket: Socket): void {
  let value = 0;
  createInterface({ input: socket }).on("line", (line) => {
    const { id, by, bytes }: { id: number; by?: number; bytes?: string } = JSON.parse(line);
    const results =
      bytes === undefined
        ? { id, value: (value += by ?? 0) }
        : { id, bytes: Buffer.from(bytes, "base64").toString("base64") };
    socket.write(`${JSON.stringify(results)}\n`);
  });
  socket.on("error", () => socket.destroy());
}

async function listen(kind: string | undefined): Promise<unknown> {
  switch (kind) {
    case "tcp": {
      const address = { kind, host: "127.0.0.1", port: 0 } as const;
      return (await listenSocket({ address, clock: systemClock, log: silentLog, onStream: serveStream })).address;
    }
    case "libp2p": {
      const host = await startHost({ namespace: "bench" });
      await host.onStream((stream) => void serveStream(stream));
      return { peerId: host.peerId, addresses: addressesOf(host) };
    }
    case "json-lines": {
      const server = createServer({ noDelay: true }, serveJsonLines);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server.address();
    }
    default:
      throw new Error(`no way to serve: ${kind}`);
  }
}

console.log(JSON.stringify(await listen(process.argv[2])));
