/**
 * Waits for a task no longer than a deadline, then cancels it. An AbortSignal ends the waiting, not the task: that goes on
 * until somebody cancels it.
 *
 *     node cancel-on-deadline.ts http://127.0.0.1:8080 hash.wasm
 */
import { readFile } from "node:fs/promises";
import { connect } from "capmesh";

const [url = "http://127.0.0.1:8080", file = "hash.wasm"] = process.argv.slice(2);
const cluster = connect(url, { token: process.env["CAPMESH_TOKEN"] });
// Nobody finds 60 zeros.
const task = await cluster.submit({ wasm: await readFile(file), input: 0, difficulty: 60 });

const deadline = AbortSignal.timeout(500);
try {
  await task.wait({ signal: deadline });
} catch (error) {
  if (!deadline.aborted) throw error;
  const { state } = await task.cancel();
  console.log(`${state} after half a second`);
}
