/**
 * Calls per second of two vats over loopback TCP, held against bare echoes of the same size over the same kind of socket.
 * Both ends are in this process: what is measured is the cost of both.
 */
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { OutputClient, serveOutput } from "../../src/caps/output.ts";
import { connectSocket, listenSocket } from "../../src/net/socket-endpoint.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { type Figure, rate } from "./measure.ts";

const CALLS = 40_000;
const IN_FLIGHT = 256;
const PAYLOAD = new Uint8Array(64);
/** About what a call of `Output.write` with the payload takes on the wire. */
const ECHO_BYTES = 200;

export async function benchRpc(): Promise<Figure[]> {
  const callsPerSecond = await benchCalls();
  const echoesPerSecond = await benchEchoes();
  const against = { name: "bare echoes", value: echoesPerSecond };
  return [{ name: "RPC calls, 256 in flight", unit: "/s", value: callsPerSecond, against }];
}

async function benchCalls(): Promise<number> {
  let offset = 0;
  using output = serveOutput({ write: async (_offset, _stream, bytes) => (offset += bytes.length) });
  const init = { clock: systemClock, log: silentLog };
  const { promise: accepted, resolve } = Promise.withResolvers<Connection>();
  await using listener = await listenSocket({
    address: { kind: "tcp", host: "127.0.0.1", port: 0 },
    onStream: (stream) => resolve(new Connection({ stream, bootstrap: output, ...init })),
    ...init,
  });
  const stream = await connectSocket({ address: listener.address, clock: systemClock });
  await using client = new Connection({ stream, ...init });
  await using _server = await accepted;
  using remote = new OutputClient(client.bootstrap());
  const once = async () => {
    await remote.write(0, "stdout", PAYLOAD);
  };
  await rate(5_000, IN_FLIGHT, once);
  return await rate(CALLS, IN_FLIGHT, once);
}

async function benchEchoes(): Promise<number> {
  const server = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const socket = connect(address.port, "127.0.0.1");
  const waiting: (() => void)[] = [];
  let received = 0;
  socket.on("data", (bytes: Buffer) => {
    for (received += bytes.length; received >= ECHO_BYTES; received -= ECHO_BYTES) waiting.shift()?.();
  });
  const message = new Uint8Array(ECHO_BYTES);
  const echo = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve);
      socket.write(message);
    });
  await rate(5_000, IN_FLIGHT, echo);
  const perSecond = await rate(CALLS, IN_FLIGHT, echo);
  socket.destroy();
  server.close();
  return perSecond;
}
