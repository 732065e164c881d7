/**
 * Submits a scheduled task over HTTP, follows its output live and tells how it ended.
 *
 *     node submit-and-follow.ts http://127.0.0.1:8080 hello.wasm
 */
import { readFile } from "node:fs/promises";
import { connect } from "capmesh";

const [url = "http://127.0.0.1:8080", file = "hello.wasm"] = process.argv.slice(2);
const cluster = connect(url, { token: process.env["CAPMESH_TOKEN"] });

const task = await cluster.submit({
  wasm: await readFile(file),
  args: ["--name", "example"],
  description: "two runs, half a second apart",
  start: "200ms",
  delay: "500ms",
  repeats: 2,
});
console.log(`submitted ${task.id}`);

for await (const { run, stream, text } of task.logs()) console.log(`run ${run}, ${stream}: ${text.trimEnd()}`);

const { state, completions } = await task.wait();
console.log(`${state} after ${completions} completions`);
