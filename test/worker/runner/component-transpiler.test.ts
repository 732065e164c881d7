import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/base/system-clock.ts";
import { ComponentTranspiler } from "../../../src/worker/runner/component-transpiler.ts";
import { guestBytes } from "../../support/guests.ts";
import { digestOf } from "./pool-harness.ts";

const component = guestBytes("component");
const digest = digestOf(component);

let scratchFolder: string;

beforeEach(async () => {
  scratchFolder = await mkdtemp(join(tmpdir(), "capmesh-transpile-"));
});

afterEach(async () => {
  await rm(scratchFolder, { recursive: true, force: true });
});

function open(cacheBytesMax?: number): ComponentTranspiler {
  return new ComponentTranspiler({ scratchFolder, clock: systemClock, cacheBytesMax });
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
    const broken = component.slice();
    broken.fill(0xff, 100, 2_000);
    const refused = await open().transpile(digestOf(broken), broken);
    expect(refused).toMatchObject({ ok: false, reason: expect.stringContaining("cannot be transpiled") });
    await expect(cachedFiles()).rejects.toThrow();
  });
});
