import { chmod, chown, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { makeIdentity } from "../../src/net/identity.ts";
import { RunFolder } from "../../src/net/run-file.ts";
import { temporaryFolder } from "./host-harness.ts";

async function open() {
  const folder = await temporaryFolder();
  const { peerId } = await makeIdentity();
  const runFolder = new RunFolder({ folder: folder.path, namespace: "test" });
  const content = { peerId, addrs: [`/ip4/10.0.0.7/tcp/4077/p2p/${peerId}`], secret: "a-good-secret" };
  const path = join(folder.path, "test", `${peerId}.json`);
  return { folder, runFolder, peerId, content, path, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

describe("RunFolder", () => {
  test("gives the reader what the gateway wrote, until it stops", async () => {
    await using fixture = await open();
    const { runFolder, peerId, content } = fixture;
    const file = await runFolder.write(content);
    expect(await runFolder.read(peerId)).toEqual(content);
    await file[Symbol.asyncDispose]();
    expect(await runFolder.read(peerId)).toBeUndefined();
  });

  test("writes <ns>/<peerId>.json with the three fields, for its owner alone", async () => {
    await using fixture = await open();
    await fixture.runFolder.write(fixture.content);
    expect(JSON.parse(await readFile(fixture.path, "utf8"))).toEqual(fixture.content);
    expect((await stat(fixture.path)).mode & 0o777).toBe(0o600);
    expect((await stat(join(fixture.folder.path, "test"))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(fixture.folder.path, "test"))).toHaveLength(1);
  });

  test("is undefined for a peer without a file", async () => {
    await using fixture = await open();
    expect(await fixture.runFolder.read(fixture.peerId)).toBeUndefined();
  });

  test("keeps namespaces apart", async () => {
    await using fixture = await open();
    await fixture.runFolder.write(fixture.content);
    const other = new RunFolder({ folder: fixture.folder.path, namespace: "other" });
    expect(await other.read(fixture.peerId)).toBeUndefined();
  });

  test.each(["..", ".", "a/../..", "ä/ö"])("stays inside its folder for namespace %j", async (namespace) => {
    await using fixture = await open();
    const inner = join(fixture.folder.path, "inner");
    const runFolder = new RunFolder({ folder: inner, namespace });
    await runFolder.write(fixture.content);
    expect(await readdir(fixture.folder.path)).toEqual(["inner"]);
    expect(await readdir(inner)).toHaveLength(1);
    expect(await runFolder.read(fixture.peerId)).toEqual(fixture.content);
  });

  test("refuses a file that others may read", async () => {
    await using fixture = await open();
    await fixture.runFolder.write(fixture.content);
    await chmod(fixture.path, 0o644);
    await expect(fixture.runFolder.read(fixture.peerId)).rejects.toMatchObject({ code: "file-not-private" });
  });

  test.skipIf(process.getuid?.() !== 0)("refuses a file of another user", async () => {
    await using fixture = await open();
    await fixture.runFolder.write(fixture.content);
    await chown(fixture.path, 12_345, 12_345);
    await expect(fixture.runFolder.read(fixture.peerId)).rejects.toMatchObject({ code: "file-not-private" });
  });

  test.each(["", "{", "[]", "null", '{"peerId":1}', '{"peerId":"x","addrs":[]}'])(
    "refuses content %j",
    async (text) => {
      await using fixture = await open();
      await mkdir(join(fixture.folder.path, "test"));
      await writeFile(fixture.path, text, { mode: 0o600 });
      await expect(fixture.runFolder.read(fixture.peerId)).rejects.toMatchObject({ code: "run-file-broken" });
    },
  );

  test("refuses a file that speaks of another peer", async () => {
    await using fixture = await open();
    const { peerId: other } = await makeIdentity();
    await fixture.runFolder.write(fixture.content);
    await writeFile(fixture.path, JSON.stringify({ ...fixture.content, peerId: other }), { mode: 0o600 });
    await expect(fixture.runFolder.read(fixture.peerId)).rejects.toMatchObject({ code: "run-file-broken" });
  });

  test("leaves out addresses that cannot be dialled", async () => {
    await using fixture = await open();
    const { content, runFolder } = fixture;
    await runFolder.write({ ...content, addrs: ["nonsense", ...content.addrs, "/ip4/1.2.3.4/udp/1"] });
    expect((await runFolder.read(fixture.peerId))?.addrs).toEqual(content.addrs);
  });
});
