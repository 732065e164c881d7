import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { VerdictCache } from "../../../src/worker/runner/verdict-cache.ts";
import { inlineInspector } from "../../support/inline-inspector.ts";
import { exiting, noop } from "./guest-modules.ts";
import { digestOf } from "./pool-harness.ts";

/** A folder, and an inspector of that version which counts what it is asked. */
class CacheHarness implements AsyncDisposable {
  readonly folder: string;
  asked = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async open(): Promise<CacheHarness> {
    return new CacheHarness(await mkdtemp(join(tmpdir(), "capmesh-verdicts-")));
  }

  cache(version = "1", keptMax?: number): VerdictCache {
    const inspectBytes = (bytes: Uint8Array) => {
      this.asked++;
      return inlineInspector.inspectBytes(bytes);
    };
    return new VerdictCache({
      inspector: { inspectBytes, version: async () => version },
      folder: this.folder,
      keptMax,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

test("a verdict is reached once, and is there again after a restart", async () => {
  await using harness = await CacheHarness.open();
  const first = await harness.cache().verdictOn(noop, digestOf(noop));
  const second = await harness.cache().verdictOn(noop);
  expect(second).toEqual(first);
  expect(harness.asked).toBe(1);
});

test("another version of the inspection reaches its own", async () => {
  await using harness = await CacheHarness.open();
  await harness.cache("1").verdictOn(noop);
  await harness.cache("2").verdictOn(noop);
  expect(harness.asked).toBe(2);
});

test("a file that does not read well is no verdict", async () => {
  await using harness = await CacheHarness.open();
  await harness.cache().verdictOn(noop);
  const [name = ""] = await readdir(harness.folder);
  await writeFile(join(harness.folder, name), '{"ok":true,"inspection":{}}');
  expect(await harness.cache().verdictOn(noop)).toMatchObject({ ok: true, inspection: { kind: "core" } });
  expect(harness.asked).toBe(2);
});

test("a refusal is not kept", async () => {
  await using harness = await CacheHarness.open();
  const broken = noop.subarray(0, 20);
  expect(await harness.cache().verdictOn(broken)).toMatchObject({ ok: false });
  expect(await readdir(harness.folder)).toEqual([]);
});

test("no more than so many are kept", async () => {
  await using harness = await CacheHarness.open();
  const cache = harness.cache("1", 10);
  for (let code = 0; code < 64; code++) await cache.verdictOn(exiting(code));
  expect((await readdir(harness.folder)).length).toBe(10);
});
