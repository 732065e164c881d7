/**
 * Calls that pass capabilities, both ways, which are then dropped: in the end all tables are empty and the heap is as it was.
 * RPC_LEAK_CALLS sets how many; a million takes a few minutes.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { InteropServer, methods } from "../interop/interop-server.ts";
import { required } from "./tester.ts";
import { isIdle, settle, until, VatPair } from "./vats.ts";

const CALLS = Number(process.env["RPC_LEAK_CALLS"] ?? 60_000);
const IN_FLIGHT = 64;
const CALLS_PER_TURN = 4;
/** What the heap may have grown by, whatever the number of calls. */
const GROWTH_BYTES_MAX = 4 * 1024 * 1024;

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

async function heapBytes(): Promise<number> {
  await settle();
  for (let i = 0; i < 4; i++) {
    collect();
    await settle(2);
  }
  return process.memoryUsage().heapUsed;
}

/** Four calls: a capability comes, is called, one goes and comes back, and one goes nested and is called. */
async function turn(main: Capability, local: InteropServer): Promise<void> {
  using making = main.call(methods.counter, (params) => (params.start = 1));
  using counter = making.pipeline(0);
  using adding = counter.call(methods.add, (params) => (params.by = 1));
  using callback = local.callback("called");
  using calling = main.call(methods.callBack, (params) => {
    setCapability(params, 0, callback);
    params.times = 1;
  });
  using gathering = main.call(methods.gather, (params) => {
    setCapability(params._initBoxes(1).get(0)._initInner(), 0, callback);
  });
  const [added, , gathered] = await Promise.all([adding.result(), calling.result(), gathering.result()]);
  using boxed = required(getCapability(gathered.boxes.get(0).inner, 0));
  if (added.value !== 2 || boxed.broken.aborted) throw new Error("the vat does not work");
}

test(`${CALLS} calls with capabilities leave tables empty and the heap flat`, async () => {
  const [server, local] = [new InteropServer({ isRecording: false }), new InteropServer({ isRecording: false })];
  await using pair = new VatPair(server.capability());
  const run = async (calls: number): Promise<void> => {
    let left = calls / CALLS_PER_TURN;
    const lane = async (): Promise<void> => {
      while (left-- > 0) await turn(pair.main, local);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
    await until(() => local.isUnused && pair.client.stats().exports === 0 && pair.client.stats().imports <= 1);
  };
  await run(8_000);
  const before = await heapBytes();
  await run(CALLS);
  const after = await heapBytes();
  console.log(`leaks: ${CALLS} calls, heap ${(before / 2 ** 20).toFixed(2)} -> ${(after / 2 ** 20).toFixed(2)} MiB`);
  expect(after - before).toBeLessThan(GROWTH_BYTES_MAX);
  expect(pair.server.stats()).toEqual({ questions: 0, answers: 0, exports: 1, imports: 0 });
  expect(isIdle(pair.server)).toBe(false);
}, 1_200_000);
