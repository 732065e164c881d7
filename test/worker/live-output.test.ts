/** Output of real guests, by way of real runners, at a worker whose gateway reads slowly, or not at all. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  OUTPUT_CHUNK_BYTES_MAX,
  OUTPUT_IN_MEMORY_BYTES_MAX,
  RUNNER_OUTPUT_FRAME_BYTES_MAX,
  RUNNER_OUTPUT_QUEUE_BYTES_MAX,
} from "../../src/base/limits.ts";
import { attemptKey } from "../../src/model/run.ts";
import type { Executor } from "../../src/worker/guest.ts";
import { SPIN } from "../support/wasm-builder.ts";
import { attemptId, ModuleSource } from "./gateway-parts.ts";
import { exiting, printing, writing } from "./runner/guest-modules.ts";
import { PoolHarness } from "./runner/pool-harness.ts";
import { until, WorkerHarness } from "./worker-harness.ts";

const TIMEOUT_MS = 60_000;
const PIECE_BYTES = 65_536;
const PIECES = 160;
const ALL_BYTES = PIECES * PIECE_BYTES;
/** What a worker may hold of an attempt's output whose gateway takes none: in its spool, and read from the runner. */
const HELD_BYTES_MAX =
  OUTPUT_IN_MEMORY_BYTES_MAX +
  OUTPUT_CHUNK_BYTES_MAX +
  RUNNER_OUTPUT_QUEUE_BYTES_MAX +
  2 * RUNNER_OUTPUT_FRAME_BYTES_MAX;

/** A worker with two real runners that counts what it takes from its guests. */
class LiveWorker implements AsyncDisposable {
  readonly worker: WorkerHarness;
  readonly #pool: PoolHarness;
  readonly #taken: { bytes: number };

  private constructor(worker: WorkerHarness, pool: PoolHarness, taken: { bytes: number }) {
    this.worker = worker;
    this.#pool = pool;
    this.#taken = taken;
  }

  static async open(): Promise<LiveWorker> {
    const harness = await PoolHarness.open({ slots: 2 });
    const { pool } = harness;
    const taken = { bytes: 0 };
    const executor: Executor = {
      run: (spec, io, options) => {
        const write: typeof io.write = (stream, bytes) => {
          taken.bytes += bytes.length;
          return io.write(stream, bytes);
        };
        return pool.run(spec, { ...io, write }, options);
      },
      close: () => pool.close(),
      [Symbol.asyncDispose]: () => pool.close(),
    };
    return new LiveWorker(await WorkerHarness.open({ slots: 2, executor }), harness, taken);
  }

  /** Bytes of output that the worker has taken from its guests so far. */
  get takenBytes(): number {
    return this.#taken.bytes;
  }

  /** Has a guest run to its end beside whatever else runs. */
  async runAnother(): Promise<void> {
    using worker = await this.worker.take();
    using attempt = this.worker.beginOn(worker, {}, undefined, new ModuleSource(exiting(0)));
    expect((await attempt.run.outcome()).outcome).toEqual({ kind: "exited", code: 0 });
    await attempt.run.acknowledge();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker[Symbol.asyncDispose]();
    await this.#pool[Symbol.asyncDispose]();
  }
}

describe("a guest that prints more than its gateway takes", { timeout: TIMEOUT_MS }, () => {
  test("waits, while its worker holds no more than a bound, and loses nothing by it", async () => {
    await using live = await LiveWorker.open();
    live.worker.connect();
    const held = Promise.withResolvers<void>();
    using worker = await live.worker.take();
    using attempt = live.worker.beginOn(
      worker,
      { outputBytesMax: ALL_BYTES },
      () => held.promise,
      new ModuleSource(writing(PIECES, PIECE_BYTES)),
    );
    await until(() => live.takenBytes >= OUTPUT_IN_MEMORY_BYTES_MAX);
    await live.runAnother();
    expect(live.takenBytes).toBeLessThanOrEqual(HELD_BYTES_MAX);
    held.resolve();
    expect(await attempt.run.outcome()).toMatchObject({ outputBytes: ALL_BYTES, outputTruncated: false });
    expect(attempt.log.length).toBe(ALL_BYTES);
    await attempt.run.acknowledge();
  });

  test("goes on without a gateway, into a file, which the next one gets whole", async () => {
    await using live = await LiveWorker.open();
    const first = live.worker.connect();
    const id = attemptId(1);
    using worker = await live.worker.take();
    using attempt = live.worker.beginOn(
      worker,
      { id, outputBytesMax: ALL_BYTES },
      () => new Promise(() => {}),
      new ModuleSource(writing(PIECES, PIECE_BYTES)),
    );
    await until(() => live.takenBytes >= OUTPUT_IN_MEMORY_BYTES_MAX);
    await first.cut();
    await until(() => live.takenBytes === ALL_BYTES);
    const { spoolFolder } = live.worker;
    const sizes = await Promise.all(
      (await readdir(spoolFolder)).map(async (name) => (await stat(join(spoolFolder, name))).size),
    );
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeGreaterThanOrEqual(ALL_BYTES - HELD_BYTES_MAX);
    const onResume = WorkerHarness.adopting(new Map([[attemptKey(id), attempt.log]]));
    const second = live.worker.connect({ onResume });
    await until(() => second.resumed !== undefined);
    expect(await second.resumed?.[0]?.run.outcome()).toMatchObject({ outputBytes: ALL_BYTES, outputTruncated: false });
    expect(attempt.log.length).toBe(ALL_BYTES);
    await second.resumed?.[0]?.run.acknowledge();
  });

  test("is cut at its limit, though nobody reads, and then goes on to its end", async () => {
    await using live = await LiveWorker.open();
    live.worker.connect();
    using worker = await live.worker.take();
    const outputBytesMax = OUTPUT_IN_MEMORY_BYTES_MAX / 2;
    const held = Promise.withResolvers<void>();
    using attempt = live.worker.beginOn(
      worker,
      { outputBytesMax },
      () => held.promise,
      new ModuleSource(writing(PIECES, PIECE_BYTES)),
    );
    await until(() => live.takenBytes === outputBytesMax);
    await live.runAnother();
    held.resolve();
    expect(await attempt.run.outcome()).toMatchObject({
      outcome: { kind: "exited", code: 0 },
      outputBytes: outputBytesMax,
      outputTruncated: true,
    });
    await attempt.run.acknowledge();
  });
});

describe("a guest that computes without pause", { timeout: TIMEOUT_MS }, () => {
  test("has its lines at the gateway while it does", async () => {
    await using live = await LiveWorker.open();
    live.worker.connect();
    using worker = await live.worker.take();
    using attempt = live.worker.beginOn(worker, {}, undefined, new ModuleSource(printing("a line\n", SPIN)));
    await until(() => attempt.log.length > 0);
    expect(attempt.log.text()).toBe("a line\n");
    await attempt.run.cancel();
    expect((await attempt.run.outcome()).outcome.kind).toBe("cancelled");
    await attempt.run.acknowledge();
  });
});
