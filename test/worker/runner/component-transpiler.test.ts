import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TRANSPILE_MS_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { ComponentTranspiler } from "../../../src/worker/runner/component-transpiler.ts";
import { wideComponent } from "../../support/component-text.ts";
import { guestBytes } from "../../support/guests.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { digestOf } from "./pool-harness.ts";

const component = guestBytes("component");
const digest = digestOf(component);

const { signal } = new AbortController();
let scratchFolder: string;
let sandbox: Sandbox;

beforeEach(async () => {
  scratchFolder = await mkdtemp(join(tmpdir(), "capmesh-transpile-"));
  sandbox = await Sandbox.open({ scratchFolder, log: silentLog });
});

afterEach(async () => {
  await rm(scratchFolder, { recursive: true, force: true });
});

function open(cacheBytesMax?: number): ComponentTranspiler {
  return new ComponentTranspiler({ sandbox, scratchFolder, clock: systemClock, slots: 1, cacheBytesMax });
}

const cachedFiles = (): Promise<string[]> => readdir(join(scratchFolder, "components"));

describe("transpiling a component", () => {
  test("gives its parts, and the same again from the cache", async () => {
    const made = await open().transpile(digest, component, { signal });
    const cached = await open().transpile(digest, component, { signal });
    expect(made.ok && made.parts.cores.length).toBeGreaterThan(0);
    expect(cached).toEqual(made);
    expect((await cachedFiles()).length).toBe(1);
  });

  test("is done once for many who ask at once", async () => {
    const transpiler = open();
    const [one, other] = await Promise.all([
      transpiler.transpile(digest, component, { signal }),
      transpiler.transpile(digest, component, { signal }),
    ]);
    expect(one).toBe(other);
  });

  test("is done again when the cached file is broken", async () => {
    const made = await open().transpile(digest, component, { signal });
    const [file = ""] = await cachedFiles();
    await truncate(join(scratchFolder, "components", file), 1_000);
    expect(await open().transpile(digest, component, { signal })).toEqual(made);
  });

  test("keeps no more on disk than it may", async () => {
    expect((await open(1_000).transpile(digest, component, { signal })).ok).toBe(true);
    expect(await cachedFiles()).toEqual([]);
  });

  test("says why it cannot be done, and keeps nothing", async () => {
    const broken = new Uint8Array(component);
    broken.fill(0xff, 100, 2_000);
    const refused = await open().transpile(digestOf(broken), broken, { signal });
    expect(refused).toMatchObject({ ok: false, reason: expect.stringContaining("cannot be transpiled") });
    await expect(cachedFiles()).rejects.toThrow();
  });

  test("that takes too long fails, and may be tried again", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots: 1 });
    const stopped = transpiler.transpile(digest, component, { signal });
    stopped.catch(() => {});
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    clock.advance(TRANSPILE_MS_MAX);
    await expect(stopped).rejects.toThrow("took more than 60 s");
    expect(await transpiler.transpile(digest, component, { signal })).toMatchObject({ ok: true });
    expect(clock.pendingTimers).toBe(0);
  });

  test("is not begun any more once it was closed, however far it was", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots: 1 });
    const stopped = transpiler.transpile(digest, component, { signal });
    transpiler.close();
    await expect(stopped).rejects.toMatchObject({ type: "overloaded", code: "closed" });
    expect(clock.pendingTimers).toBe(0);
  });

  test("gives its parts though they cannot be kept", async () => {
    await writeFile(join(scratchFolder, "components"), "not a folder");
    expect(await open().transpile(digest, component, { signal })).toMatchObject({ ok: true });
  });

  test("fails when its process is killed", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots: 1 });
    const killed = transpiler.transpile(digest, component, { signal });
    killed.catch(() => {});
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    transpiler.close();
    await expect(killed).rejects.toThrow("SIGKILL");
  });

  test("that nobody waits for any more ends at once, and the next one begins anew", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots: 1 });
    const [one, other] = [new AbortController(), new AbortController()];
    const both = [
      transpiler.transpile(digest, component, one),
      transpiler.transpile(digest, component, other),
    ] as const;
    for (const waiting of both) waiting.catch(() => {});
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    one.abort(new Error("not wanted"));
    await expect(both[0]).rejects.toThrow("not wanted");
    expect(clock.pendingTimers).toBe(1);
    other.abort(new Error("not wanted either"));
    await expect(both[1]).rejects.toThrow("not wanted either");
    // Its process has ended: the timer that watched over it is gone.
    await vi.waitUntil(() => clock.pendingTimers === 0, { timeout: 30_000, interval: 1 });
    expect(await transpiler.transpile(digest, component, { signal })).toMatchObject({ ok: true });
  });

  test("waits while as many as there are slots are under way, and no longer than it is wanted", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock, slots: 1 });
    const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()];
    const other = (byte: number): Uint8Array => new Uint8Array([...component, 0x00, 0x02, 0x01, byte]);
    const begin = (bytes: Uint8Array, wanted: AbortController): Promise<unknown> => {
      const begun = transpiler.transpile(digestOf(bytes), bytes, wanted);
      begun.catch(() => {});
      return begun;
    };
    const [held, , last] = [begin(component, first), begin(other(0x61), second), begin(other(0x62), third)];
    await vi.waitUntil(() => clock.pendingTimers > 0, { timeout: 30_000, interval: 1 });
    second.abort(new Error("not wanted"));
    expect(clock.pendingTimers).toBe(1);
    first.abort(new Error("not wanted"));
    await expect(held).rejects.toThrow("not wanted");
    expect(await last).toMatchObject({ ok: true });
  });

  test("into more JavaScript than is taken refuses the component, and keeps nothing", async () => {
    const wide = await wideComponent(115);
    expect(wide.length).toBeLessThan(12_000);
    const refused = await open().transpile(digestOf(wide), wide, { signal });
    expect(refused).toMatchObject({ ok: false, reason: expect.stringMatching(/MiB of JavaScript .* 16 is the cap/) });
    await expect(cachedFiles()).rejects.toThrow();
  });

  test.skipIf(process.platform !== "linux")("refuses a component that takes too much processor time", async () => {
    const wide = await wideComponent(500);
    const transpiler = new ComponentTranspiler({
      sandbox,
      scratchFolder,
      clock: systemClock,
      slots: 1,
      cpuSecondsMax: 1,
    });
    const refused = await transpiler.transpile(digestOf(wide), wide, { signal });
    expect(refused).toMatchObject({ ok: false, reason: expect.stringContaining("within 1 s of processor time") });
  });
});
