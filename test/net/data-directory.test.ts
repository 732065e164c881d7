import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DataDirectory } from "../../src/net/data-directory.ts";
import { temporaryFolder } from "./host-harness.ts";
import { matching } from "../support/matchers.ts";

/** Another process that holds `path`, until disposed. */
async function holderOf(path: string): Promise<AsyncDisposable & { readonly child: ChildProcess }> {
  const child = fork(join(import.meta.dirname, "hold-data-directory.ts"), [path], { execArgv: [] });
  expect(await once(child, "message")).toEqual(["held", undefined]);
  return {
    child,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

describe("DataDirectory", () => {
  test("makes the folder for its owner alone", async () => {
    await using folder = await temporaryFolder();
    await using directory = await DataDirectory.open(join(folder.path, "a", "b"));
    expect((await stat(directory.path)).mode & 0o777).toBe(0o700);
  });

  test("refuses a second one of the same process", async () => {
    await using folder = await temporaryFolder();
    await using first = await DataDirectory.open(folder.path);
    await expect(DataDirectory.open(folder.path)).rejects.toMatchObject({ code: "data-directory-in-use" });
    expect(first.path).toBe(folder.path);
  });

  test("refuses a folder that another process holds, and names both", async () => {
    await using folder = await temporaryFolder();
    await using holder = await holderOf(folder.path);
    await expect(DataDirectory.open(folder.path)).rejects.toMatchObject({
      code: "data-directory-in-use",
      message: matching(new RegExp(`${folder.path}.*pid ${holder.child.pid}.*--data`)),
    });
  });

  test("takes over from a process that was killed", async () => {
    await using folder = await temporaryFolder();
    const holder = await holderOf(folder.path);
    await holder[Symbol.asyncDispose]();
    await using directory = await DataDirectory.open(folder.path);
    expect(directory.path).toBe(folder.path);
  });

  test("is free again once disposed, twice too", async () => {
    await using folder = await temporaryFolder();
    const first = await DataDirectory.open(folder.path);
    await first[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
    await using second = await DataDirectory.open(folder.path);
    expect(second.path).toBe(folder.path);
  });

  test("gives workers the first free of worker, worker-2, worker-3", async () => {
    await using folder = await temporaryFolder();
    const base = join(folder.path, "worker");
    const first = await DataDirectory.openFirstFree(base);
    await using second = await DataDirectory.openFirstFree(base);
    await using third = await DataDirectory.openFirstFree(base);
    await first[Symbol.asyncDispose]();
    await using again = await DataDirectory.openFirstFree(base);
    const names = [first, second, third, again].map(({ path }) => path.slice(folder.path.length + 1));
    expect(names).toEqual(["worker", "worker-2", "worker-3", "worker"]);
  });

  test("gives each of several that start at once its own", async () => {
    await using folder = await temporaryFolder();
    const base = join(folder.path, "worker");
    await using stack = new AsyncDisposableStack();
    const opened = await Promise.all(Array.from({ length: 6 }, () => DataDirectory.openFirstFree(base)));
    for (const directory of opened) stack.use(directory);
    expect(new Set(opened.map(({ path }) => path)).size).toBe(6);
  });

  test("says what is wrong with a folder that cannot be used", async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, "file"), "");
    await mkdir(join(folder.path, "odd", "lock"), { recursive: true });
    await expect(DataDirectory.open(join(folder.path, "file"))).rejects.toMatchObject({
      code: "data-directory-unusable",
    });
    await expect(DataDirectory.open(join(folder.path, "odd"))).rejects.toMatchObject({
      code: "data-directory-unusable",
    });
  });

  test.runIf(process.platform === "linux")("gives up on a place where no folder can be made", async () => {
    await expect(DataDirectory.open("/proc/capmesh/data")).rejects.toMatchObject({ code: "data-directory-unusable" });
  });
});
