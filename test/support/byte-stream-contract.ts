/** What every ByteStream keeps to. */
import { createHash, randomBytes, type Hash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { disconnected, failed, type ClusterError } from "../../src/base/errors.ts";
import type { ByteStream, ByteStreamReceiver } from "../../src/rpc/byte-stream.ts";

/** Two ends of one stream, and whatever it takes to have them. */
export interface ByteStreamPair extends AsyncDisposable {
  readonly a: ByteStream;
  readonly b: ByteStream;
}

export interface ByteStreamSubject {
  readonly open: () => Promise<ByteStreamPair>;
  /** Bytes that may be under way to a reader that has stopped, all buffers on both sides counted. */
  readonly underWayBytesMax: number;
  /** Whether a receiver that throws costs only its stream. A fake lets the error through, so that a test sees it. */
  readonly catchesReceiverFaults: boolean;
}

const TIMEOUT_MS = 60_000;
const MIB = 1024 * 1024;

export function describeByteStream(name: string, subject: ByteStreamSubject): void {
  describe(`${name} as a byte stream`, { timeout: TIMEOUT_MS }, () => {
    test("carries bytes both ways at once, in order, however they are cut", async () => {
      await using pair = await subject.open();
      const fromA = recordingOf(pair.a);
      const fromB = recordingOf(pair.b);
      const toB = Array.from({ length: 3_000 }, (_, index) => randomBytes((index * 37) % 1_500));
      const toA = Array.from({ length: 40 }, (_, index) => randomBytes(1 + ((index * 50_021) % 300_000)));
      await Promise.all([writeAll(pair.a, toB), writeAll(pair.b, toA)]);
      await Promise.all([pair.a.close(), pair.b.close()]);
      expect(await fromB.ended).toBeUndefined();
      expect(await fromA.ended).toBeUndefined();
      expect(fromB.digest()).toBe(digestOf(toB));
      expect(fromA.digest()).toBe(digestOf(toA));
    });

    test("keeps what comes before it is started", async () => {
      await using pair = await subject.open();
      pair.a.write(Buffer.from("early"));
      await turns(20);
      const received = recordingOf(pair.b);
      await received.until(5);
      expect(received.text()).toBe("early");
    });

    test("delivers nothing from inside start or resume", async () => {
      await using pair = await subject.open();
      pair.a.write(Buffer.from("first"));
      await turns(20);
      let isInside = true;
      const seen: boolean[] = [];
      const received = Promise.withResolvers<void>();
      pair.b.start({
        onBytes: () => {
          seen.push(isInside);
          received.resolve();
        },
        onEnd: () => undefined,
      });
      pair.b.pause();
      pair.b.resume();
      isInside = false;
      await received.promise;
      expect(seen).not.toContain(true);
    });

    test("delivers nothing while paused, also when paused from inside a delivery", async () => {
      await using pair = await subject.open();
      const sizes: number[] = [];
      let isPaused = false;
      let hasBroken = false;
      const first = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<void>();
      pair.b.start({
        onBytes: (bytes) => {
          hasBroken ||= isPaused;
          sizes.push(bytes.byteLength);
          pair.b.pause();
          isPaused = true;
          first.resolve();
          setImmediate(() => {
            isPaused = false;
            pair.b.resume();
          });
        },
        onEnd: () => ended.resolve(),
      });
      await writeAll(pair.a, [randomBytes(700_000), randomBytes(1), randomBytes(1_300_000)]);
      await pair.a.close();
      await ended.promise;
      expect(hasBroken).toBe(false);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(2_000_001);
    });

    test("holds the sender back while the reader is paused, and loses nothing of 64 MiB", async () => {
      await using pair = await subject.open();
      const received = recordingOf(pair.b);
      pair.b.pause();
      let writtenBytes = 0;
      const chunk = randomBytes(256 * 1024);
      const sending = (async () => {
        for (let count = 0; count < 256; count++) {
          writtenBytes += chunk.byteLength;
          if (!pair.a.write(Buffer.from(chunk))) await pair.a.drained();
        }
        await pair.a.close();
      })();
      await untilStill(() => writtenBytes);
      expect(writtenBytes).toBeLessThan(subject.underWayBytesMax);
      expect(received.bytes).toBe(0);
      // From here on a reader that stops all the time, each time from inside a delivery.
      let mostUnderWay = 0;
      received.onBytes = () => {
        mostUnderWay = Math.max(mostUnderWay, writtenBytes - received.bytes);
        pair.b.pause();
        setImmediate(() => pair.b.resume());
      };
      pair.b.resume();
      await sending;
      expect(await received.ended).toBeUndefined();
      expect(received.bytes).toBe(64 * MIB);
      expect(received.digest()).toBe(digestOf(Array.from({ length: 256 }, () => chunk)));
      expect(mostUnderWay).toBeLessThan(subject.underWayBytesMax);
    });

    test("goes on with the other direction while one is paused", async () => {
      await using pair = await subject.open();
      const fromB = recordingOf(pair.b);
      pair.b.pause();
      const fromA = recordingOf(pair.a);
      let writtenBytes = 0;
      const sending = (async () => {
        for (let count = 0; count < 100; count++) {
          writtenBytes += 256 * 1024;
          if (!pair.a.write(Buffer.alloc(256 * 1024))) await pair.a.drained();
        }
      })();
      await untilStill(() => writtenBytes);
      await writeAll(pair.b, [randomBytes(3 * MIB)]);
      await fromA.until(3 * MIB);
      pair.b.resume();
      await sending;
      await fromB.until(writtenBytes);
      expect(fromA.bytes).toBe(3 * MIB);
    });

    test("says drained at once when nothing waits", async () => {
      await using pair = await subject.open();
      await pair.a.drained();
      expect(pair.a.write(Buffer.from("x"))).toBe(true);
      await pair.a.drained();
    });

    test("sends what is queued before it closes, and the other side sees a clean end", async () => {
      await using pair = await subject.open();
      const received = recordingOf(pair.b);
      for (let count = 0; count < 32; count++) pair.a.write(Buffer.alloc(100_000, count));
      await pair.a.close();
      await pair.a.close();
      expect(await received.ended).toBeUndefined();
      expect(received.bytes).toBe(3_200_000);
    });

    test("tells its own receiver when closed and the other side has ended too", async () => {
      await using pair = await subject.open();
      const fromA = recordingOf(pair.a);
      const fromB = recordingOf(pair.b);
      await pair.a.close();
      await fromB.ended;
      await pair.b.close();
      expect(await fromA.ended).toBeUndefined();
    });

    test("delivers all bytes to a paused reader after the sender has closed", async () => {
      await using pair = await subject.open();
      const received = recordingOf(pair.b);
      pair.b.pause();
      pair.a.write(Buffer.alloc(200_000, 7));
      await pair.a.close({ signal: AbortSignal.timeout(500) });
      await turns(20);
      expect(received.bytes).toBe(0);
      pair.b.resume();
      expect(await received.ended).toBeUndefined();
      expect(received.bytes).toBe(200_000);
    });

    test("resolves close when its signal is aborted, though the reader takes nothing", async () => {
      await using pair = await subject.open();
      recordingOf(pair.b);
      pair.b.pause();
      recordingOf(pair.a);
      for (let count = 0; count < 48; count++) pair.a.write(Buffer.alloc(MIB));
      await pair.a.close({ signal: AbortSignal.timeout(200) });
      pair.a.abort(failed("enough"));
    });

    test("ignores writes once closed", async () => {
      await using pair = await subject.open();
      const received = recordingOf(pair.b);
      pair.a.write(Buffer.from("before"));
      const closed = pair.a.close();
      pair.a.write(Buffer.from("after"));
      await closed;
      pair.a.write(Buffer.from("long after"));
      expect(await received.ended).toBeUndefined();
      expect(received.text()).toBe("before");
    });

    test("gives the reason of an abort to its own receiver, and ends for the other side", async () => {
      await using pair = await subject.open();
      const fromA = recordingOf(pair.a);
      const fromB = recordingOf(pair.b);
      pair.b.write(Buffer.from("hello"));
      await fromA.until(5);
      const reason = failed("we are done with you");
      pair.a.abort(reason);
      pair.a.abort(disconnected("again"));
      expect(await fromA.ended).toBe(reason);
      await fromB.ended;
      expect(pair.a.write(Buffer.from("into the void"))).toBe(true);
      await pair.a.drained();
      await pair.a.close();
    });

    test("lets a writer that waits go on when the stream is aborted", async () => {
      await using pair = await subject.open();
      recordingOf(pair.b);
      pair.b.pause();
      recordingOf(pair.a);
      let writtenBytes = 0;
      let isAborted = false;
      const sending = (async () => {
        for (;;) {
          writtenBytes += 256 * 1024;
          if (!pair.a.write(Buffer.alloc(256 * 1024))) await pair.a.drained();
          if (isAborted) return;
        }
      })();
      await untilStill(() => writtenBytes);
      isAborted = true;
      pair.a.abort(failed("enough"));
      await sending;
    });

    test("ends once, whatever is called afterwards", async () => {
      await using pair = await subject.open();
      const fromA = recordingOf(pair.a);
      recordingOf(pair.b);
      pair.a.abort(failed("first"));
      await fromA.ended;
      pair.a.pause();
      pair.a.resume();
      pair.a.abort(failed("second"));
      pair.b.abort(failed("third"));
      await pair.a.close();
      await turns(50);
      expect(fromA.endCount).toBe(1);
    });

    test.runIf(subject.catchesReceiverFaults)("does not suffer from a receiver that throws, but ends", async () => {
      await using pair = await subject.open();
      const ended = Promise.withResolvers<ClusterError | undefined>();
      pair.b.start({
        onBytes: () => {
          throw new Error("a bug above");
        },
        onEnd: (error) => ended.resolve(error),
      });
      pair.a.write(Buffer.from("x"));
      expect((await ended.promise)?.type).toBe("failed");
    });
  });
}

interface Recording extends ByteStreamReceiver {
  readonly bytes: number;
  readonly endCount: number;
  readonly ended: Promise<ClusterError | undefined>;
  onBytes(bytes: Uint8Array): void;
  until(bytes: number): Promise<void>;
  digest(): string;
  text(): string;
}

/** Starts the stream and writes down what comes; its own `onBytes` may be replaced to be told of each delivery. */
function recordingOf(stream: ByteStream): Recording {
  const hash: Hash = createHash("sha256");
  const head: Buffer[] = [];
  const ended = Promise.withResolvers<ClusterError | undefined>();
  const waiters: { bytes: number; resolve: () => void }[] = [];
  const state = { bytes: 0, endCount: 0 };
  const recording: Recording = {
    get bytes() {
      return state.bytes;
    },
    get endCount() {
      return state.endCount;
    },
    ended: ended.promise,
    onBytes: () => undefined,
    onEnd: () => undefined,
    until: (bytes) =>
      state.bytes >= bytes ? Promise.resolve() : new Promise((resolve) => waiters.push({ bytes, resolve })),
    digest: () => hash.copy().digest("hex"),
    text: () => Buffer.concat(head).toString("utf8"),
  };
  stream.start({
    onBytes: (bytes) => {
      if (state.endCount > 0) throw new Error("bytes after the end");
      state.bytes += bytes.byteLength;
      hash.update(bytes);
      if (state.bytes < 10_000) head.push(Buffer.from(bytes));
      for (const waiter of waiters) if (state.bytes >= waiter.bytes) waiter.resolve();
      recording.onBytes(bytes);
    },
    onEnd: (error) => {
      state.endCount++;
      ended.resolve(error);
    },
  });
  return recording;
}

function digestOf(chunks: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

async function writeAll(stream: ByteStream, chunks: readonly Uint8Array[]): Promise<void> {
  for (const chunk of chunks) if (!stream.write(Buffer.from(chunk))) await stream.drained();
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await nextTurn();
}

/** Resolves once the value has not changed for a while: a sender that is held back stands still. */
async function untilStill(value: () => number): Promise<void> {
  let last = value();
  let lastChangeMs = performance.now();
  while (performance.now() - lastChangeMs < 400) {
    await nextTurn();
    if (value() === last) continue;
    last = value();
    lastChangeMs = performance.now();
  }
}
