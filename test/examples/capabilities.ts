/**
 * Over Cap'n Proto what a program holds are capabilities. A session that is narrowed to `read` can look at tasks and
 * nothing more, whoever it is handed to, and a task is the authority over that one task.
 *
 *     capmesh --gateway --rpc unix:/run/user/1000/capmesh.sock
 *     node capabilities.ts unix:/run/user/1000/capmesh.sock hash.wasm
 */
import { readFile } from "node:fs/promises";
import { ClusterError, connectRpc } from "capmesh";

const [address = "unix:/run/user/1000/capmesh.sock", file = "hash.wasm"] = process.argv.slice(2);
await using cluster = await connectRpc(address, { name: "example" });

using task = await cluster.submit({ module: await readFile(file), run: { input: 0, difficulty: 3 } });
console.log(`submitted ${task.id}: ${(await task.wait()).state}`);

await using reader = await cluster.narrow(["read"]);
using found = await reader.find(task.id);
console.log(`the reader sees it: ${(await found.status()).state}`);
try {
  await reader.submit({ module: await readFile(file) });
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  console.log(`the reader submits nothing: ${error.code}`);
}
