/**
 * A worker that runs tasks by a function of its own: those that are submitted with `entry=wordcount`. It dials a gateway,
 * and serves until it is interrupted; with a URL it submits one task itself, and ends with it.
 *
 *     node own-executor.ts 12D3KooW…#secret http://127.0.0.1:8080
 */
import { connect } from "capmesh";
import { type KindExecutor, serveWorker } from "capmesh/worker";

const [dial = "127.0.0.1:4077", url] = process.argv.slice(2);

const wordcount: KindExecutor = {
  run: async (spec, io, signal) => {
    const words = new TextDecoder().decode(io.stdin).split(/\s+/).filter(Boolean);
    for (const word of words) {
      signal.throwIfAborted();
      await io.stderr(`${word}\n`);
    }
    await io.stdout(`${spec.task} has ${words.length} words\n`);
    return { kind: "exited", code: 0, value: words.length };
  },
};

await using worker = await serveWorker({
  dial,
  secret: process.env["CAPMESH_SECRET"],
  data: process.env["CAPMESH_DATA"],
  slots: 2,
  mdns: process.env["CAPMESH_MDNS"] !== "false",
  executors: { wordcount },
});
console.log(`worker ${worker.peerId}`);

if (url === undefined) {
  process.once("SIGINT", () => void worker.close());
  await worker.finished;
} else {
  const task = await connect(url).submit({ entry: "wordcount", stdin: "so many words" });
  const { state, result } = await task.wait();
  console.log(`${state} with ${result?.value ?? "nothing"}`);
}
