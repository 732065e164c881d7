import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { IDENTITY_FILE, loadIdentity } from "../../src/net/identity.ts";
import { temporaryFolder } from "./host-harness.ts";
import { containing } from "../support/matchers.ts";

describe("loadIdentity", () => {
  test("makes a key that only its owner may read, and nothing else", async () => {
    await using folder = await temporaryFolder();
    await loadIdentity(folder.path);
    expect((await stat(join(folder.path, IDENTITY_FILE))).mode & 0o777).toBe(0o600);
    expect(await readdir(folder.path)).toEqual([IDENTITY_FILE]);
  });

  test("is the same peer at every start", async () => {
    await using folder = await temporaryFolder();
    const first = await loadIdentity(folder.path);
    expect((await loadIdentity(folder.path)).peerId).toBe(first.peerId);
  });

  test("gives one identity to all that ask at once", async () => {
    await using folder = await temporaryFolder();
    const loaded = await Promise.all(Array.from({ length: 8 }, () => loadIdentity(folder.path)));
    expect(new Set(loaded.map((identity) => identity.peerId)).size).toBe(1);
  });

  test("gives each folder another peer", async () => {
    await using one = await temporaryFolder();
    await using other = await temporaryFolder();
    expect((await loadIdentity(one.path)).peerId).not.toBe((await loadIdentity(other.path)).peerId);
  });

  test.each([0o640, 0o604, 0o666])("refuses a key file of mode %o, and says how to mend it", async (mode) => {
    await using folder = await temporaryFolder();
    await loadIdentity(folder.path);
    await chmod(join(folder.path, IDENTITY_FILE), mode);
    await expect(loadIdentity(folder.path)).rejects.toMatchObject({
      code: "file-not-private",
      message: containing("chmod 600"),
    });
  });

  test.each([
    ["empty", ""],
    ["cut", "CAESQ"],
    ["text", "this is not a key"],
    ["zeros", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    ["large", "A".repeat(100_000)],
  ])("refuses a broken key file (%s) and leaves it as it is", async (_name, content) => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, IDENTITY_FILE);
    await writeFile(path, content, { mode: 0o600 });
    await expect(loadIdentity(folder.path)).rejects.toMatchObject({ type: "failed" });
    expect(await readFile(path, "latin1")).toBe(content);
  });
});
