import { describeByteStream } from "../support/byte-stream-contract.ts";
import { memoryStreamPair } from "../support/memory-byte-stream.ts";

describeByteStream("a stream in memory", {
  open: () => Promise.resolve(memoryStreamPair()),
  underWayBytesMax: 2 * 1024 * 1024,
  catchesReceiverFaults: false,
});
