import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { TIER_MEMORY_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { TierMemory } from "../../../src/worker/runner/tier-memory.ts";
import { digestOf } from "./pool-harness.ts";

const LARGE = 5_000_000;
const LONG = { tier: "baseline", cpuMs: 60_000, wasCompiled: false } as const;
const SHORT = { tier: "baseline", cpuMs: 10, wasCompiled: false } as const;

function digest(index: number) {
  return digestOf(Uint8Array.of(index >> 8, index & 255));
}

class Folder implements AsyncDisposable {
  readonly folder: string;
  readonly path: string;

  constructor(folder: string) {
    this.folder = folder;
    this.path = join(folder, "tiers.json");
  }

  static async make(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), "capmesh-tiers-")));
  }

  open(): Promise<TierMemory> {
    return TierMemory.open({ path: this.path, log: silentLog });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true });
  }
}

describe("the memory of modules' tiers", () => {
  test("outlives its process", async () => {
    await using folder = await Folder.make();
    {
      await using memory = await folder.open();
      memory.remember(digest(1), LARGE, LONG);
      memory.remember(digest(2), LARGE, SHORT);
    }
    await using memory = await folder.open();
    expect([1, 2, 3].map((index) => memory.tierFor(digest(index), LARGE))).toEqual([
      "optimized",
      "baseline",
      "baseline",
    ]);
    expect(await readdir(folder.folder)).toEqual(["tiers.json"]);
  });

  test("keeps nothing of small modules, and writes no file for them", async () => {
    await using folder = await Folder.make();
    {
      await using memory = await folder.open();
      memory.remember(digest(1), 1_000, LONG);
    }
    expect(await readdir(folder.folder)).toEqual([]);
  });

  test("forgets the modules that were run longest ago", async () => {
    await using folder = await Folder.make();
    {
      await using memory = await folder.open();
      for (let index = 0; index < TIER_MEMORY_MAX; index++) memory.remember(digest(index), LARGE, LONG);
      memory.remember(digest(0), LARGE, LONG);
      memory.remember(digest(TIER_MEMORY_MAX), LARGE, LONG);
      expect([0, 1, 2].map((index) => memory.tierFor(digest(index), LARGE))).toEqual([
        "optimized",
        "baseline",
        "optimized",
      ]);
    }
    expect(JSON.parse(await readFile(folder.path, "utf8"))).toHaveLength(TIER_MEMORY_MAX);
  });

  test.each([
    ["no JSON", "{"],
    ["no list", "{}"],
    ["rows that are none", '[1, null, ["x", "optimized", 5], [], {}]'],
    ["another tier", `[["${digest(1)}", "fast", 1e9]]`],
    ["no time", `[["${digest(1)}", "optimized", -1]]`],
    ["far too much", `[["${digest(1)}", "optimized", 1e9]${" ".repeat(2_000_000)}]`],
  ])("begins anew from a file with %s", async (_what, text) => {
    await using folder = await Folder.make();
    await writeFile(folder.path, text);
    await using memory = await folder.open();
    expect(memory.tierFor(digest(1), LARGE)).toBe("baseline");
  });

  test("goes on in a folder that cannot be written", async () => {
    await using folder = await Folder.make();
    await using memory = await TierMemory.open({ path: join(folder.folder, "none", "tiers.json"), log: silentLog });
    memory.remember(digest(1), LARGE, LONG);
    expect(memory.tierFor(digest(1), LARGE)).toBe("optimized");
  });
});
