/** Serves interop.capnp in a process of its own, to be killed: prints the address it listens on. */
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { formatSocketAddress, listenSocket, parseSocketAddress } from "../../src/net/socket-endpoint.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { InteropServer } from "./interop-server.ts";

const listener = await listenSocket({
  address: parseSocketAddress(process.argv[2] ?? ""),
  clock: systemClock,
  log: silentLog,
  onStream: (stream) => {
    using bootstrap = new InteropServer().capability();
    // The connection lives as long as its stream.
    void new Connection({ stream, bootstrap, clock: systemClock, log: silentLog }).ended;
  },
});
console.log(formatSocketAddress(listener.address));
