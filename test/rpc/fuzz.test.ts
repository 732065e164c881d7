/**
 * Hundreds of thousands of damaged frames against live vats, as server and as client. Whatever they are: the connection ends
 * with a reason or goes on, nothing is left of it once it is closed, the process lives, and its memory stays bounded.
 *
 * The seed is printed. To repeat: RPC_FUZZ_SEED=<seed>; one round of it alone: RPC_FUZZ_ROUND=<round>; more: RPC_FUZZ_FRAMES.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { ClusterError } from "../../src/base/errors.ts";
import type { ByteStream, ByteStreamReceiver } from "../../src/rpc/byte-stream.ts";
import type { Capability } from "../../src/rpc/capability.ts";
import type { Connection } from "../../src/rpc/connection.ts";
import { InteropServer } from "../interop/interop-server.ts";
import { testSeed } from "../support/properties.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { converse, type Recording, recordConversation } from "./conversation.ts";
import { FrameMutator } from "./frame-mutator.ts";
import { connect, isIdle, until } from "./vats.ts";

const SEED = Number(process.env["RPC_FUZZ_SEED"] ?? testSeed ?? Math.floor(Math.random() * 2 ** 32));
const FRAMES = Number(process.env["RPC_FUZZ_FRAMES"] ?? 110_000);
const ONLY_ROUND = process.env["RPC_FUZZ_ROUND"];
/** What the process may take beyond what it had, whatever it is sent. */
const MEMORY_BYTES_MAX = 512 * 1024 * 1024;

let recording: Recording;
beforeAll(async () => {
  recording = await recordConversation();
  console.log(`fuzz: RPC_FUZZ_SEED=${SEED}, ${FRAMES} frames`);
});

/** A stream whose other end is the test: what the vat writes is counted and dropped. */
class FuzzStream implements ByteStream {
  readonly label = "fuzz";
  writtenBytes = 0;
  isOver = false;
  #receiver: ByteStreamReceiver | undefined;
  #isPaused = false;
  #waiting: Uint8Array[] = [];

  start(receiver: ByteStreamReceiver): void {
    this.#receiver = receiver;
  }

  feed(bytes: Uint8Array): void {
    if (this.isOver) return;
    if (this.#isPaused) this.#waiting.push(bytes);
    else this.#receiver?.onBytes(bytes);
  }

  write(bytes: Uint8Array): boolean {
    this.writtenBytes += bytes.byteLength;
    return true;
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    for (const bytes of this.#waiting.splice(0)) this.feed(bytes);
  }

  close(): Promise<void> {
    this.isOver = true;
    return Promise.resolve();
  }

  abort(): void {
    this.isOver = true;
  }
}

interface Side {
  /** What the other side said, and the vat is told again, damaged. */
  readonly frames: readonly Uint8Array[];
  /** What the vat does itself meanwhile. Settles when the connection has ended, at the latest. */
  readonly act: (vat: Connection, local: InteropServer) => Promise<void>;
}

interface Tally {
  frames: number;
  ended: number;
  readonly codes: Map<string, number>;
}

/**
 * One vat, told a conversation of which the frames from some point on are damaged: every other one, or all of which
 * the content is. */
async function round(side: Side, mutator: FrameMutator, tally: Tally): Promise<void> {
  const stream = new FuzzStream();
  const [server, local] = [new InteropServer(), new InteropServer()];
  const bootstrap: Capability = server.capability();
  const vat = connect(stream, bootstrap);
  bootstrap[Symbol.dispose]();
  const acting = side.act(vat, local);
  const start = mutator.below(side.frames.length);
  const isContentOnly = mutator.below(2) === 0;
  const mutate = (frame: Uint8Array): Uint8Array | undefined => {
    if (isContentOnly) return mutator.mutantContent(frame, side.frames);
    return mutator.below(2) === 0 ? mutator.mutant(frame, side.frames) : undefined;
  };
  for (const [index, frame] of side.frames.entries()) {
    if (vat.ended.aborted) break;
    const damaged = index >= start ? mutate(frame) : undefined;
    if (damaged) tally.frames++;
    stream.feed(damaged ?? Uint8Array.from(frame));
    if (mutator.below(8) === 0) await nextTurn();
  }
  await nextTurn();
  if (vat.ended.aborted) {
    const { reason } = vat.ended;
    expect(reason).toBeInstanceOf(ClusterError);
    expect(reason).toMatchObject({ type: "disconnected", message: expect.stringMatching(/./) });
    expect(stream.isOver).toBe(true);
    tally.ended++;
    const { code } = vat.ended.reason instanceof ClusterError ? vat.ended.reason : { code: "none" };
    tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1);
  }
  await vat.close();
  await acting;
  for (const each of [server, local]) each.drop();
  await until(
    () => isIdle(vat) && server.isUnused && local.isUnused,
    () => `nothing left: ${JSON.stringify([vat.stats(), server.isUnused, local.isUnused])}`,
  );
}

async function fuzz(side: Side): Promise<void> {
  const before = process.memoryUsage().rss;
  const tally: Tally = { frames: 0, ended: 0, codes: new Map() };
  const rounds = ONLY_ROUND === undefined ? undefined : [Number(ONLY_ROUND)];
  for (let index = 0; rounds === undefined ? tally.frames < FRAMES / 2 : index < rounds.length; index++) {
    const number = rounds?.[index] ?? index;
    try {
      await round(side, new FrameMutator(new SeededRandom(SEED + number * 7919)), tally);
    } catch (error) {
      throw new Error(`to repeat: RPC_FUZZ_SEED=${SEED} RPC_FUZZ_ROUND=${number}`, { cause: error });
    }
    if (index % 500 === 0) expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES_MAX);
  }
  expect(process.memoryUsage().rss - before).toBeLessThan(MEMORY_BYTES_MAX);
  console.log(`fuzz: ${tally.frames} frames, ${tally.ended} connections ended`, Object.fromEntries(tally.codes));
}

describe("a vat that is sent damaged frames", () => {
  test("as the server of a conversation ends the connection with a reason, or goes on, and keeps nothing", async () => {
    await fuzz({ frames: recording.ofClient, act: () => Promise.resolve() });
  }, 600_000);

  test("as the client of a conversation ends the connection with a reason, or goes on, and keeps nothing", async () => {
    await fuzz({
      frames: recording.ofServer,
      act: async (vat, local) => {
        using main = vat.bootstrap();
        await converse(main, local).catch(() => undefined);
      },
    });
  }, 600_000);
});
