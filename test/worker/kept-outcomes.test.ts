/** Outcomes that outlive the worker's process. */
import { mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  FILE_NAME_BYTES_MAX,
  FILE_PATH_BYTES_MAX,
  KEEP_OUTCOME_AFTER_MS,
  KEPT_FILES_MAX,
  KEPT_OUTCOME_MS_MAX,
} from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { attemptKey } from "../../src/model/run.ts";
import { FileSpool } from "../../src/worker/file-spool.ts";
import { KeptOutcomes } from "../../src/worker/kept-outcomes.ts";
import { OutputSpool } from "../../src/worker/output-spool.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { attemptId, bytesOf, DurableLog, peerId } from "./gateway-parts.ts";
import { until, WorkerHarness } from "./worker-harness.ts";

const OUTPUT = "all that it has to say";

/** An attempt that writes, and ends after its gateway has gone. */
async function endAlone(harness: WorkerHarness): Promise<void> {
  const session = harness.connect();
  using _attempt = await harness.begin();
  const guest = await harness.guest(0);
  await session.cut();
  await guest.print(OUTPUT);
  guest.end({ kind: "exited", code: 3 });
}

/** A session that adopts whatever comes, and the log that it writes to. */
async function adoptAll(harness: WorkerHarness, log = new DurableLog()) {
  const session = harness.connect({
    onResume: async (held) =>
      held.map(() => ({ kind: "adopt" as const, output: log.output().capability, offset: log.length })),
  });
  await until(() => session.resumed !== undefined);
  return { session, log, resumed: session.resumed ?? [] };
}

test.each([true, false])(
  "an outcome that no gateway was there for is told by the next process (killed: %s)",
  async (killed) => {
    await using harness = await WorkerHarness.open();
    await endAlone(harness);
    await until(() => harness.executor.active === 0);
    if (killed) await expect.poll(() => harness.kept()).toHaveLength(1);
    await harness.restart({ killed });
    const { resumed, log } = await adoptAll(harness);
    const [held] = resumed;
    expect(held?.id).toEqual(attemptId(1));
    expect((await held?.run.outcome())?.outcome).toEqual({ kind: "exited", code: 3 });
    expect(log.text()).toBe(OUTPUT);
    await held?.run.acknowledge();
    await expect.poll(() => harness.kept()).toEqual([]);
  },
);

test("an outcome that its gateway is slow to acknowledge is on the disk, until it is acknowledged", async () => {
  await using harness = await WorkerHarness.open();
  harness.connect();
  using attempt = await harness.begin();
  (await harness.guest(0)).end();
  await attempt.run.outcome();
  expect(await harness.kept()).toEqual([]);
  await harness.clock.run(2 * KEEP_OUTCOME_AFTER_MS);
  await expect.poll(() => harness.kept()).toHaveLength(1);
  await attempt.run.acknowledge();
  await expect.poll(() => harness.kept()).toEqual([]);
});

test("an outcome that is acknowledged at once never touches the disk", async () => {
  await using harness = await WorkerHarness.open();
  harness.connect();
  using attempt = await harness.begin();
  (await harness.guest(0)).end();
  await attempt.run.outcome();
  await attempt.run.acknowledge();
  await harness.clock.run(2 * KEEP_OUTCOME_AFTER_MS);
  expect(await harness.kept()).toEqual([]);
});

test("output that was durable before is not sent again, and what was not is, however often the process changes", async () => {
  await using harness = await WorkerHarness.open();
  const log = new DurableLog();
  await endAlone(harness);
  await harness.restart();
  const first = await adoptAll(harness, log);
  await until(() => log.length === OUTPUT.length);
  await first.session.cut();
  await harness.restart();
  const writesBefore = log.writes;
  const { resumed } = await adoptAll(harness, log);
  await resumed[0]?.run.outcome();
  expect([log.text(), log.writes]).toEqual([OUTPUT, writesBefore]);
});

test.each([true, false])(
  "files that no gateway was there for are handed over by the next process (killed: %s)",
  async (killed) => {
    await using harness = await WorkerHarness.open();
    const session = harness.connect();
    using attempt = await harness.begin({ outputs: ["*"] });
    // The first is handed over before the gateway goes.
    attempt.log.files.onCall = async (call) => {
      if (call === "finish" && attempt.log.files.contents.size === 1) await session.cut();
    };
    const guest = await harness.guest(0);
    for (const name of ["a", "b", "c"]) await guest.keep(name, bytesOf(1_000, name.length));
    guest.end();
    await session.served.catch(() => {});
    await expect.poll(() => harness.kept()).toHaveLength(2);
    await harness.restart({ killed });
    attempt.log.files.onCall = () => {};
    const { log, resumed } = await adoptAll(harness, attempt.log);
    expect((await resumed[0]?.run.outcome())?.outcome).toEqual({ kind: "exited", code: 0 });
    expect([...log.files.contents.keys()]).toEqual(["a", "b", "c"]);
    await resumed[0]?.run.acknowledge();
    await expect.poll(() => harness.kept()).toEqual([]);
  },
);

test("files of an attempt whose outcome was not kept are removed at the next start", async () => {
  await using shelf = await Shelf.create();
  const outcomes = await shelf.open();
  const folder = outcomes.filesFolder({ gateway: peerId("G"), id: attemptId(1) });
  await mkdir(folder);
  await writeFile(join(folder, "0"), "left behind");
  await shelf.open();
  expect(await readdir(shelf.folder)).toEqual([]);
});

test("an outcome that its gateway does not want any more is removed", async () => {
  await using harness = await WorkerHarness.open();
  await endAlone(harness);
  await harness.restart();
  harness.connect();
  await expect.poll(() => harness.kept()).toEqual([]);
});

test("another gateway is told nothing of it, and may give out the same numbers", async () => {
  await using harness = await WorkerHarness.open();
  await endAlone(harness);
  await harness.restart();
  const other = harness.connect({ gateway: peerId("H") });
  using attempt = await harness.begin({ id: attemptId(1) });
  expect(other.resumed).toEqual([]);
  (await harness.guest(1)).end();
  expect((await attempt.run.outcome()).outcome).toEqual({ kind: "exited", code: 0 });
  await attempt.run.acknowledge();
  await other.cut();
  expect((await adoptAll(harness)).resumed.map(({ id }) => attemptKey(id))).toEqual([attemptKey(attemptId(1))]);
});

test("a worker that is stopped while no gateway is there does not wait for one: what has ended is kept", async () => {
  await using harness = await WorkerHarness.open();
  await endAlone(harness);
  await harness.server.drain({ signal: new AbortController().signal, handBackMs: 1_000 });
  expect(await harness.kept()).toHaveLength(1);
});

test("guests that are stopped with their worker leave nothing", async () => {
  await using harness = await WorkerHarness.open();
  harness.connect();
  using _attempt = await harness.begin();
  await harness.guest(0);
  await harness.restart();
  expect(await harness.kept()).toEqual([]);
});

/** Outcomes in a folder, saved and loaded without a worker. */
class Shelf implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<Shelf> {
    return new Shelf(await mkdtemp(join(tmpdir(), "capmesh-outcomes-")));
  }

  open(): Promise<KeptOutcomes> {
    return KeptOutcomes.open({ folder: this.folder, clock: this.clock, log: silentLog });
  }

  async save(serial: number, text: string, files?: FileSpool): Promise<void> {
    const { clock } = this;
    const random = new SeededRandom(1);
    const path = join(tmpdir(), "never-made");
    await using spool = new OutputSpool({ path, clock, random, log: silentLog, onRefused: () => {} });
    await spool.append("stdout", Buffer.from(text));
    const usage = { wallMs: 1, cpuMs: 1, memoryBytes: 1 };
    const outcome = { kind: "exited", code: 0 } as const;
    const end = { outcome, usage, outputBytes: text.length, outputTruncated: false, value: "7" };
    await (await this.open()).save({ gateway: peerId("G"), id: attemptId(serial), end }, spool, files);
  }

  async file(): Promise<string> {
    const [name = ""] = await readdir(this.folder);
    return join(this.folder, name);
  }

  async found() {
    return (await this.open()).found;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

test("what is kept comes back as it was, more output than fits into memory included", async () => {
  await using shelf = await Shelf.create();
  const text = "0123456789".repeat(400_000);
  await shelf.save(1, text);
  const [found] = await shelf.found();
  expect(found).toMatchObject({ id: attemptId(1), end: { value: "7", outcome: { kind: "exited", code: 0 } } });
  expect(found?.output).toMatchObject({ offset: 0, outputBytes: text.length });
  expect((await readFile(await shelf.file())).length).toBeGreaterThan(text.length);
});

test("as many files as may be kept, under the longest names, come back", async () => {
  await using shelf = await Shelf.create();
  await using folder = await Shelf.create();
  const { clock } = shelf;
  await using files = new FileSpool({
    folder: join(folder.folder, "files"),
    clock,
    random: new SeededRandom(1),
    onBytes: () => {},
  });
  // What takes the most in JSON.
  const part = "\u0001".repeat(FILE_NAME_BYTES_MAX);
  const name = (index: number) => `${part}/${part}/${part}/${index}/`.padEnd(FILE_PATH_BYTES_MAX, "\u0001");
  for (let index = 0; index < KEPT_FILES_MAX; index++) await files.keep(name(index), 0, noBytes());
  await shelf.save(1, "one", files);
  const [found] = await shelf.found();
  expect(found?.spooled).toHaveLength(KEPT_FILES_MAX);
});

async function* noBytes(): AsyncGenerator<Uint8Array, void> {}

test.each([0, 3, 100])("a file that is cut to %i bytes is given up, and the others are not", async (bytes) => {
  await using shelf = await Shelf.create();
  await shelf.save(1, "one");
  await truncate(await shelf.file(), bytes);
  await shelf.save(2, "two");
  expect((await shelf.found()).map(({ id }) => id.serial)).toEqual([2]);
  expect(await readdir(shelf.folder)).toHaveLength(1);
});

test("what was not written to its end, or is no outcome, is removed", async () => {
  await using shelf = await Shelf.create();
  await writeFile(join(shelf.folder, "x.outcome.part"), "half");
  await writeFile(join(shelf.folder, "y.outcome"), Buffer.from([2, 0, 0, 0, 123, 125]));
  await writeFile(join(shelf.folder, "z.outcome"), Buffer.from([255, 255, 255, 255, 123, 125]));
  expect(await shelf.found()).toEqual([]);
  expect(await readdir(shelf.folder)).toEqual([]);
});

test("an outcome that nobody has asked for is given up after a week", async () => {
  await using shelf = await Shelf.create();
  await shelf.save(1, "one");
  shelf.clock.advance(KEPT_OUTCOME_MS_MAX);
  expect(await shelf.found()).toHaveLength(1);
  shelf.clock.advance(1);
  expect(await shelf.found()).toEqual([]);
});
