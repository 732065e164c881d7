/**
 * The other process of the transfer benchmark: `runner-transfer-process.ts <bytes>`. A host; who connects gets a module of so
 * many bytes as the connection's bootstrap, or, in another namespace, the same bytes plain. Prints where both listen, as a
 * line of JSON.
 */
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { serveModule } from "../../src/caps/module.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { addressesOf, startHost } from "../net/host-harness.ts";
import { bytesOf, ModuleSource } from "../worker/gateway-parts.ts";

const PIECE_BYTES = 65_536;

const source = new ModuleSource(bytesOf(Number(process.argv[2])));

async function writePlain(stream: ByteStream): Promise<void> {
  stream.start({ onBytes() {}, onEnd() {} });
  for (let at = 0; at < source.bytes.length; at += PIECE_BYTES) {
    if (!stream.write(source.bytes.slice(at, at + PIECE_BYTES))) await stream.drained();
  }
  await stream.close();
}

function serve(stream: ByteStream): void {
  using bootstrap = serveModule(source);
  void new Connection({ stream, bootstrap, clock: systemClock, log: silentLog });
}

const modules = await startHost({ namespace: "bench-module" });
await modules.onStream(serve);
const plain = await startHost({ namespace: "bench-plain" });
await plain.onStream((stream) => void writePlain(stream));
const where = [modules, plain].map((host) => ({ peerId: host.peerId, addresses: addressesOf(host) }));
console.log(JSON.stringify({ digest: source.digest, module: where[0], plain: where[1] }));
