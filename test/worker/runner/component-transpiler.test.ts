import { mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TRANSPILE_MS_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { ComponentTranspiler } from "../../../src/worker/runner/component-transpiler.ts";
import { guestBytes } from "../../support/guests.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { digestOf } from "./pool-harness.ts";

const component = guestBytes("component");
const digest = digestOf(component);

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
  return new ComponentTranspiler({ sandbox, scratchFolder, clock: systemClock, cacheBytesMax });
}

const cachedFiles = (): Promise<string[]> => readdir(join(scratchFolder, "components"));

describe("transpiling a component", () => {
  test("gives its parts, and the same again from the cache", async () => {
    const made = await open().transpile(digest, component);
    const cached = await open().transpile(digest, component);
    expect(made.ok && made.parts.cores.length).toBeGreaterThan(0);
    expect(cached).toEqual(made);
    expect((await cachedFiles()).length).toBe(1);
  });

  test("is done once for many who ask at once", async () => {
    const transpiler = open();
    const [one, other] = await Promise.all([
      transpiler.transpile(digest, component),
      transpiler.transpile(digest, component),
    ]);
    expect(one).toBe(other);
  });

  test("is done again when the cached file is broken", async () => {
    const made = await open().transpile(digest, component);
    const [file = ""] = await cachedFiles();
    await truncate(join(scratchFolder, "components", file), 1_000);
    expect(await open().transpile(digest, component)).toEqual(made);
  });

  test("keeps no more on disk than it may", async () => {
    expect((await open(1_000).transpile(digest, component)).ok).toBe(true);
    expect(await cachedFiles()).toEqual([]);
  });

  test("says why it cannot be done, and keeps nothing", async () => {
    const broken = new Uint8Array(component);
    broken.fill(0xff, 100, 2_000);
    const refused = await open().transpile(digestOf(broken), broken);
    expect(refused).toMatchObject({ ok: false, reason: expect.stringContaining("cannot be transpiled") });
    await expect(cachedFiles()).rejects.toThrow();
  });

  test("that takes too long fails, and may be tried again", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock });
    const stopped = transpiler.transpile(digest, component);
    stopped.catch(() => {});
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    clock.advance(TRANSPILE_MS_MAX);
    await expect(stopped).rejects.toThrow("took more than 60 s");
    expect(await transpiler.transpile(digest, component)).toMatchObject({ ok: true });
    expect(clock.pendingTimers).toBe(0);
  });

  test("is not begun any more once it was closed, however far it was", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock });
    const stopped = transpiler.transpile(digest, component);
    transpiler.close();
    await expect(stopped).rejects.toMatchObject({ type: "overloaded", code: "closed" });
    expect(clock.pendingTimers).toBe(0);
  });

  test("gives its parts though they cannot be kept", async () => {
    await writeFile(join(scratchFolder, "components"), "not a folder");
    expect(await open().transpile(digest, component)).toMatchObject({ ok: true });
  });

  test("fails when its process is killed", async () => {
    const clock = new ManualClock();
    const transpiler = new ComponentTranspiler({ sandbox, scratchFolder, clock });
    const killed = transpiler.transpile(digest, component);
    killed.catch(() => {});
    await vi.waitUntil(() => clock.pendingTimers === 1, { timeout: 30_000, interval: 1 });
    transpiler.close();
    await expect(killed).rejects.toThrow("SIGKILL");
  });
});
