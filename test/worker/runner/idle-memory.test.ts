/** What idle runners give back of their memory: the decisions with runners that are none, and once with a real one. */
import { describe, expect, test, vi } from "vitest";
import { IDLE_MEMORY_READ_EVERY_MS, RUNNER_IDLE_BYTES_MAX } from "../../../src/base/limits.ts";
import { IdleMemory } from "../../../src/worker/runner/idle-memory.ts";
import { type MemoryUse, readMemoryUse } from "../../../src/worker/runner/memory-use.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { settle } from "../../rpc/vats.ts";
import { manyFunctions } from "./guest-modules.ts";
import { PoolHarness } from "./pool-harness.ts";

const MIB = 1_048_576;
const isLinux = process.platform === "linux";

/** A runner whose memory is as the test says: now, once collected, and without its modules. */
class FakeRunner {
  readonly guestPid = 1;
  readonly done: string[] = [];
  state: "idle" | "busy" = "idle";
  nowMib: number;
  readonly #collectedMib: number;
  readonly #emptyMib: number;
  #hasModules = true;

  constructor(nowMib: number, collectedMib: number, emptyMib = collectedMib) {
    this.nowMib = nowMib;
    this.#collectedMib = collectedMib;
    this.#emptyMib = emptyMib;
  }

  use(): MemoryUse {
    const bytes = this.nowMib * MIB;
    return { dataBytes: bytes, residentBytes: bytes, privateBytes: bytes };
  }

  async collectGarbage(): Promise<MemoryUse> {
    this.done.push("collect");
    await Promise.resolve();
    this.nowMib = this.#hasModules ? this.#collectedMib : this.#emptyMib;
    return this.use();
  }

  forgetModules(): void {
    this.done.push("forget");
    this.#hasModules = false;
  }
}

function setUp(runner: FakeRunner) {
  const clock = new ManualClock();
  const memory = new IdleMemory<FakeRunner>({
    clock,
    replace: () => void runner.done.push("replace"),
    readUse: () => runner.use(),
  });
  return { clock, memory };
}

describe("an idle runner", () => {
  test.each([
    ["nothing, of what little it has", new FakeRunner(35, 35), []],
    ["what nobody uses", new FakeRunner(120, 30), ["collect"]],
    ["nothing more, where an interpreter is ready for its next run", new FakeRunner(130, 120), ["collect"]],
    ["its modules, where they are too much", new FakeRunner(400, 400, 60), ["collect", "forget", "collect"]],
    ["itself, where nothing helps", new FakeRunner(400, 400), ["collect", "forget", "collect", "replace"]],
  ])("gives back %s", async (_what, runner, done) => {
    const { clock, memory } = setUp(runner);
    memory.givenBack(runner);
    await settle();
    for (let second = 0; second < 5; second++) {
      await clock.run(IDLE_MEMORY_READ_EVERY_MS);
      await settle();
    }
    expect(runner.done).toEqual(done);
  });

  test("is looked at once a second, however many guests it has, and once more when it rests", async () => {
    const runner = new FakeRunner(20, 20);
    const { clock, memory } = setUp(runner);
    for (let guest = 0; guest < 50; guest++) memory.givenBack(runner);
    runner.nowMib = 100;
    memory.givenBack(runner);
    await settle();
    expect(runner.done).toEqual([]);
    await clock.run(2 * IDLE_MEMORY_READ_EVERY_MS);
    await settle();
    expect(runner.done).toEqual(["collect"]);
  });

  test("that has got a guest meanwhile keeps what it has until that has left", async () => {
    const runner = new FakeRunner(400, 400, 60);
    const { clock, memory } = setUp(runner);
    memory.givenBack(runner);
    runner.state = "busy";
    await settle();
    await clock.run(5 * IDLE_MEMORY_READ_EVERY_MS);
    expect(runner.done).toEqual(["collect"]);
    runner.state = "idle";
    memory.givenBack(runner);
    await settle();
    expect(runner.done).toEqual(["collect", "forget", "collect"]);
  });

  test.runIf(isLinux)("is not filled by module after module, and each of them runs", async () => {
    await using harness = await PoolHarness.open();
    const privateBytes = (): number[] =>
      harness.pool.stats().runners.map(({ guestPid }) => readMemoryUse(guestPid ?? 0)?.privateBytes ?? 0);
    let most = 0;
    for (let index = 0; index < 10; index++) {
      const end = await harness.run(manyFunctions(200_000, index));
      expect(end.outcome).toEqual({ kind: "exited", code: 0 });
      most = Math.max(most, ...privateBytes());
    }
    // Fewer would prove nothing.
    expect(most).toBeGreaterThan(RUNNER_IDLE_BYTES_MAX / 2);
    await vi.waitFor(() => expect(Math.max(...privateBytes())).toBeLessThan(RUNNER_IDLE_BYTES_MAX), 10_000);
  });
});
