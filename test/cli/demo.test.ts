/** The demo as users start it, ended in every way. */
import { readdir } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { CommandLine, type RunningCommand } from "../support/command-line.ts";
import { descendants, isAlive } from "../support/process-table.ts";

const IS_LINUX = process.platform === "linux";
/** Three processes start on a machine that may be busy. */
const LONG_MS = 120_000;

describe("the demo", { timeout: LONG_MS }, () => {
  test("checks three results, says who ran what, and leaves nothing behind", async () => {
    await using line = await CommandLine.create();
    const demo = line.start(["demo"], { env: { TMPDIR: line.home } });
    const { code, stdout, stderr } = await demo.result;
    expect(stderr).toBe("");
    expect(stdout.match(/^[123] +worker-[12] +.* value 2832 +right$/gm)).toHaveLength(3);
    expect(stdout).toContain("done: all three results are right");
    expect(code).toBe(0);
    expect(await readdir(line.home)).toEqual([]);
  });

  test.runIf(IS_LINUX)("ends every process and removes every file on Ctrl-C", async () => {
    await using line = await CommandLine.create();
    const demo = line.start(["demo"], { env: { TMPDIR: line.home } });
    await demo.find(/POST \/tasks/);
    const children = descendants(demo.pid);
    expect(children.length).toBeGreaterThanOrEqual(3);
    demo.kill("SIGINT");
    expect((await demo.result).code).toBe(130);
    await expect.poll(() => children.filter(isAlive)).toEqual([]);
    expect(await readdir(line.home)).toEqual([]);
  });

  test.runIf(IS_LINUX)("takes every process along when it is killed", async () => {
    await using line = await CommandLine.create();
    const demo = line.start(["demo"], { env: { TMPDIR: line.home } });
    await demo.find(/both workers have joined/);
    const children = descendants(demo.pid);
    expect(children.length).toBeGreaterThanOrEqual(3);
    await killAndWait(demo, children);
  });
});

async function killAndWait(command: RunningCommand, processes: readonly number[]): Promise<void> {
  command.kill("SIGKILL");
  await command.result;
  await expect.poll(() => processes.filter(isAlive), { timeout: 30_000 }).toEqual([]);
}
