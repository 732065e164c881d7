import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { findMemoryCap, type MemoryCap } from "../../src/sandbox/memory-cap.ts";

/** What is found where the kernel tells of cgroups by these files, and of our own by `self`. */
async function findIn(files: Readonly<Record<string, string>>, self: string): Promise<MemoryCap> {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-cgroup-"));
  try {
    for (const [path, text] of Object.entries({ ...files, "../self": self })) {
      const file = join(folder, "mount", path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text);
    }
    return await findMemoryCap({ mount: join(folder, "mount"), self: join(folder, "self") });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const OWN = "0::/system.slice/capmesh.service\n";

test("the cap of a process's own cgroup is found", async () => {
  const files = {
    "cgroup.controllers": "cpu memory pids\n",
    "system.slice/capmesh.service/memory.max": "4294967296\n",
  };
  expect(await findIn(files, OWN)).toEqual({ kind: "capped", bytes: 4_294_967_296 });
});

test("the smallest of those above it counts", async () => {
  const files = {
    "cgroup.controllers": "memory\n",
    "system.slice/capmesh.service/memory.max": "max\n",
    "system.slice/memory.max": "1000000\n",
    "memory.max": "2000000\n",
  };
  expect(await findIn(files, OWN)).toEqual({ kind: "capped", bytes: 1_000_000 });
});

test.each([
  ["nothing is capped", { "cgroup.controllers": "memory\n", "system.slice/capmesh.service/memory.max": "max\n" }, OWN],
  ["memory is not held by cgroups", { "cgroup.controllers": "cpu hugetlb\n" }, OWN],
  ["there are no cgroups of version 2", {}, "4:memory:/user\n"],
])("there is none where %s", async (_what, files, self) => {
  expect(await findIn(files, self)).toMatchObject({ kind: "none" });
});

test("a machine that has none of it is no trouble", async () => {
  expect(await findMemoryCap({ mount: "/nowhere", self: "/nowhere/at/all" })).toMatchObject({ kind: "none" });
});
