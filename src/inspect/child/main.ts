/**
 * Entry of the process that reads modules: takes one after another, says of each what it is, and ends when its owner
 * does. It knows nothing else and may do nothing else (`sandbox/`).
 */
import process from "node:process";
import { inspectModule } from "../../model/wasm-inspect.ts";
import { ControlReader, ControlWriter } from "../../sandbox/child/control-pipe.ts";
import { ANSWER } from "../verdict.ts";

const ORDERS_FD = 3;
const ANSWERS_FD = 4;
const FRAME_BYTES_MAX = 65_536;

const reader = new ControlReader(ORDERS_FD);
const writer = new ControlWriter(ANSWERS_FD);
const encoder = new TextEncoder();

writer.send(ANSWER.ready, new Uint8Array(0));
for (let frame = reader.next(); frame !== undefined; frame = reader.next()) {
  const text = encoder.encode(JSON.stringify(inspectModule(frame.payload)));
  let at = 0;
  for (; text.length - at > FRAME_BYTES_MAX; at += FRAME_BYTES_MAX) {
    writer.send(ANSWER.more, text.subarray(at, at + FRAME_BYTES_MAX));
  }
  writer.send(ANSWER.last, text.subarray(at));
}
process.exit(0);
