/** The store's contract: logs. */
import { expect, test } from "vitest";
import type { OutputStream } from "../../src/model/output.ts";
import type { OutputPage, Store } from "../../src/store/store.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { OpenStore } from "./store-harness.ts";
import { LOST, T0, WORKER_B, attemptEnd, bytesOf, createRunning, taskSpec, textOf } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

const NOW = { now: T0, backoffJitter: 0 };

export function describeOutput(open: OpenStore): void {
  test("appends, and says what is durable", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const appended = await store.appendOutput(attempt, 0, "stdout", bytesOf("hello"));
    expect(appended).toEqual({ kind: "appended", durableOffset: 5, runOffset: 0 });
    expect(await store.listRunning()).toMatchObject([{ outputBytes: 5 }]);
    expect(await store.getRun(attempt.task, 1)).toMatchObject({ outputBytes: 5 });
  });

  test("ignores what it has already, and refuses to leave a gap", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const append = (offset: number, text: string) => store.appendOutput(attempt, offset, "stdout", bytesOf(text));
    await append(0, "hello");
    expect(await append(0, "hell")).toMatchObject({ kind: "appended", durableOffset: 5 });
    expect(await append(3, "lo world")).toMatchObject({ kind: "appended", durableOffset: 11 });
    expect(await append(12, "x")).toEqual({ kind: "gap", durableOffset: 11 });
    expect(await append(11, "")).toMatchObject({ kind: "appended", durableOffset: 11 });
    expect(logText(await store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 100 }))).toBe("hello world");
  });

  test("takes nothing for an attempt that is over", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.settle(attempt, LOST, NOW);
    await store.lease({ ...attempt, attempt: 2 }, WORKER_B, T0, T0 + 1_000);
    expect(await store.appendOutput(attempt, 0, "stdout", bytesOf("late"))).toEqual({ kind: "stale" });
    await store.cancelTask(attempt.task, "stop", T0);
    expect(await store.appendOutput({ ...attempt, attempt: 2 }, 0, "stdout", bytesOf("x"))).toEqual({ kind: "stale" });
    expect(await store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 9 })).toMatchObject({ outputBytes: 0 });
  });

  test("keeps the head of a run's log, up to its task's cap, and says that it was cut", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t", { outputBytesMax: 5 }));
    const append = (offset: number, text: string) => store.appendOutput(attempt, offset, "stdout", bytesOf(text));
    const read = () => store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 100 });
    await append(0, "hell");
    expect((await read())?.isTruncated).toBe(false);
    expect(await append(4, "o world")).toEqual({ kind: "appended", durableOffset: 11, runOffset: 0 });
    expect(await append(2, "llo")).toEqual({ kind: "appended", durableOffset: 5, runOffset: 0 });
    // It is known no more how far what was let go went: all that comes behind the end fits.
    expect(await append(20, "!")).toEqual({ kind: "appended", durableOffset: 21, runOffset: 0 });
    expect(logText(await read())).toBe("hello");
    expect(await read()).toMatchObject({ isTruncated: true, outputBytes: 5 });
    expect(await store.listRunning()).toMatchObject([{ outputBytes: 5, outputBytesMax: 5 }]);
  });

  test("holds a log that is exactly as long as the cap to be whole", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t", { outputBytesMax: 5 }));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("hello"));
    await store.appendOutput(attempt, 5, "stdout", bytesOf(""));
    expect(await store.settle(attempt, attemptEnd(), NOW)).toMatchObject({
      run: { outputBytes: 5, outputTruncated: false },
    });
  });

  test("keeps of a later attempt what the earlier ones have left room for", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t", { outputBytesMax: 7 }));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("lost "));
    await store.settle(attempt, LOST, NOW);
    const second = { ...attempt, attempt: 2 };
    await store.lease(second, WORKER_B, T0, T0 + 1_000);
    expect(await store.appendOutput(second, 0, "stdout", bytesOf("again"))).toMatchObject({ durableOffset: 5 });
    expect(await store.settle(second, attemptEnd(), NOW)).toMatchObject({
      run: { state: "succeeded", outputBytes: 7, outputTruncated: true, result: { stdout: "ag" } },
    });
  });

  test("leaves the caller's bytes alone", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const buffer = bytesOf("..hello..");
    const appended = store.appendOutput(attempt, 0, "stdout", buffer.subarray(2, 7));
    buffer.fill(0);
    await appended;
    expect(buffer.length).toBe(9);
    expect(logText(await store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 100 }))).toBe("hello");
  });

  test("is complete once the run is over, and says that it was cut", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const read = () => store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 10 });
    expect(await read()).toEqual({ chunks: [], nextOffset: 0, outputBytes: 0, isComplete: false, isTruncated: false });
    await store.settle(attempt, attemptEnd(undefined, { outputTruncated: true }), NOW);
    expect(await read()).toMatchObject({ isComplete: true, isTruncated: true });
  });

  test("is not complete while the run is tried again", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.settle(attempt, LOST, NOW);
    expect(await store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 10 })).toMatchObject({ isComplete: false });
  });

  test("leaves out the other stream and keeps its offsets", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    for (const [offset, stream, text] of [
      [0, "stdout", "aa"],
      [2, "stderr", "EEE"],
      [5, "stdout", "b"],
      [6, "stderr", "F"],
    ] as const) {
      await store.appendOutput(attempt, offset, stream, bytesOf(text));
    }
    const all = await store.readOutput(attempt.task, 1, { offset: 0, bytesMax: 100 });
    expect(described(all)).toEqual(["0 stdout aa", "2 stderr EEE", "5 stdout b", "6 stderr F"]);
    const errors = await store.readOutput(attempt.task, 1, { stream: "stderr", offset: 3, bytesMax: 2 });
    expect(described(errors)).toEqual(["3 stderr EE"]);
    expect(errors?.nextOffset).toBe(6);
    const rest = await store.readOutput(attempt.task, 1, { stream: "stdout", offset: 6, bytesMax: 2 });
    expect(rest).toMatchObject({ chunks: [], nextOffset: 7, outputBytes: 7 });
  });

  test("puts up with a guest that writes byte by byte to both streams", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    const count = 20_000;
    for (let offset = 0; offset < count; offset += 1) {
      void store.appendOutput(attempt, offset, offset % 2 === 0 ? "stdout" : "stderr", Uint8Array.of(offset % 251));
    }
    const settled = await store.settle(attempt, attemptEnd(), NOW);
    expect(settled).toMatchObject({ run: { outputBytes: count } });
    const read: number[] = [];
    for (let offset = 0; offset < count;) {
      const page = await store.readOutput(attempt.task, 1, { stream: "stderr", offset, bytesMax: 100_000 });
      for (const chunk of page?.chunks ?? []) read.push(...chunk.bytes);
      offset = page?.nextOffset ?? count;
    }
    expect(read).toEqual(Array.from({ length: count / 2 }, (_, index) => (index * 2 + 1) % 251));
  });

  test("gives nothing beyond the end, and does not go back", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("abc"));
    const page = await store.readOutput(attempt.task, 1, { offset: 50, bytesMax: 10 });
    expect(page).toMatchObject({ chunks: [], nextOffset: 50, outputBytes: 3 });
  });

  test(
    "reads any log back as it was written, whatever the sizes of writes and pages",
    { timeout: 120_000 },
    async () => {
      await using harness = await open();
      const { store } = harness;
      const stream = fc.constantFrom<OutputStream>("stdout", "stderr");
      const size = fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20_000 }));
      let taken = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.record({ stream, size, isNewAttempt: fc.integer({ min: 0, max: 9 }).map((n) => n === 0) }), {
            maxLength: 30,
          }),
          fc.integer({ min: 1, max: 40_000 }),
          async (writes, bytesMax) => {
            taken += 1;
            await expectFaithful(store, `log${taken}`, writes, bytesMax);
          },
        ),
        { numRuns: 30 },
      );
    },
  );
}

interface Write {
  readonly stream: OutputStream;
  readonly size: number;
  readonly isNewAttempt: boolean;
}

/** What one write put into the log. */
interface Piece {
  readonly stream: OutputStream;
  readonly attempt: number;
  readonly start: number;
  readonly bytes: Uint8Array;
}

async function expectFaithful(store: Store, id: string, writes: readonly Write[], bytesMax: number): Promise<void> {
  const { attempt } = await createRunning(store, taskSpec(id));
  const pieces = await writeLog(store, attempt, writes);
  const total = pieces.reduce((sum, piece) => sum + piece.bytes.length, 0);
  const pageBytes = Math.max(bytesMax, Math.ceil(total / 50));
  for (const stream of [undefined, "stdout", "stderr"] as const) {
    const wanted = pieces.filter((piece) => stream === undefined || piece.stream === stream);
    const read: Uint8Array[] = [];
    let position = 0;
    for (;;) {
      const page = await store.readOutput(attempt.task, 1, { stream, offset: position, bytesMax: pageBytes });
      if (page === undefined || page.nextOffset === position) break;
      expect(page.chunks.reduce((sum, chunk) => sum + chunk.bytes.length, 0)).toBeLessThanOrEqual(pageBytes);
      for (const chunk of page.chunks) {
        const from = pieces.findLast((piece) => piece.start <= chunk.offset);
        expect([chunk.stream, chunk.attempt]).toEqual([from?.stream, from?.attempt]);
        read.push(chunk.bytes);
      }
      position = page.nextOffset;
    }
    expect(position).toBe(total);
    expect(Buffer.concat(read).equals(Buffer.concat(wanted.map((piece) => piece.bytes)))).toBe(true);
  }
}

async function writeLog(store: Store, first: AttemptId, writes: readonly Write[]): Promise<readonly Piece[]> {
  const pieces: Piece[] = [];
  let attempt = first;
  let start = 0;
  let attemptStart = 0;
  for (const { stream, size, isNewAttempt } of writes) {
    if (isNewAttempt) {
      void store.settle(attempt, LOST, { ...NOW, isBlameless: true });
      attempt = { ...attempt, attempt: attempt.attempt + 1 };
      void store.lease(attempt, WORKER_B, T0, T0 + 1_000);
      attemptStart = start;
    }
    const from = start;
    const bytes = Uint8Array.from({ length: size }, (_, index) => (from + index) * 31);
    const offset = start - attemptStart;
    const appended = await store.appendOutput(attempt, offset, stream, bytes);
    expect(appended).toEqual({ kind: "appended", durableOffset: offset + size, runOffset: attemptStart });
    pieces.push({ stream, attempt: attempt.attempt, start, bytes });
    start += size;
  }
  return pieces;
}

function logText(page: OutputPage | undefined): string {
  return page?.chunks.map((chunk) => textOf(chunk.bytes)).join("") ?? "";
}

function described(page: OutputPage | undefined): readonly string[] {
  return page?.chunks.map((chunk) => `${chunk.offset} ${chunk.stream} ${textOf(chunk.bytes)}`) ?? [];
}
