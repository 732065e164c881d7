import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import { CodeFiles } from "../../src/sandbox/cell-code.ts";
import { Sandbox } from "../../src/sandbox/sandbox.ts";

const entry = "inspect/child/main";
const OTHERS_READ = 0o4;

/** While `use` runs, processes of this Node are of another program. */
async function withProgram<T>(program: string, use: () => Promise<T>): Promise<T> {
  const own = process.execPath;
  process.execPath = program;
  try {
    return await use();
  } finally {
    process.execPath = own;
  }
}

async function withScratchFolder(use: (scratchFolder: string) => Promise<void>): Promise<void> {
  const scratchFolder = await mkdtemp(join(tmpdir(), "capmesh-cell-"));
  try {
    await use(scratchFolder);
  } finally {
    await rm(scratchFolder, { recursive: true, force: true });
  }
}

describe("a cell", () => {
  test("can be read by everybody, whatever the umask is", () =>
    withScratchFolder(async (scratchFolder) => {
      const umask = process.umask(0o077);
      try {
        const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls: [] });
        await sandbox.openCell({ entry });
      } finally {
        process.umask(umask);
      }
      const made = await readdir(scratchFolder, { recursive: true, withFileTypes: true });
      const closed: string[] = [];
      for (const place of made) {
        if (place.isSymbolicLink()) continue;
        const { mode } = await stat(join(place.parentPath, place.name));
        if ((mode & OTHERS_READ) === 0) closed.push(place.name);
      }
      expect([made.length > 0, closed]).toEqual([true, []]);
    }));

  test("that cannot be made leaves nothing", () =>
    withScratchFolder(async (scratchFolder) => {
      const sandbox = await Sandbox.open({ scratchFolder, log: silentLog, walls: [] });
      await expect(withProgram("/nowhere/node", () => sandbox.openCell({ entry }))).rejects.toMatchObject({
        type: "overloaded",
      });
      expect(await readdir(scratchFolder)).toEqual([]);
    }));
});

describe("code whose types cannot be stripped", () => {
  test.each([
    ["that is not there", "/nowhere/node", "ENOENT"],
    ["that reads nothing and fails", "/bin/false", "ended with 1"],
  ])("by a program %s is told of, and harms nobody", async (_what, program, reason) => {
    const code = await CodeFiles.find(entry);
    await expect(withProgram(program, () => code.read())).rejects.toMatchObject({
      type: "overloaded",
      message: expect.stringContaining(reason),
    });
  });
});
