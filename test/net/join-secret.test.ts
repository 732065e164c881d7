import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SECRET_FILE, isSecret, loadSecret } from "../../src/net/join-proof.ts";
import { JoinSecret } from "../../src/net/join-secret.ts";
import { ManualClock } from "../support/manual-clock.ts";

async function folder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "capmesh-secret-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test("another secret is on the disk, for its owner alone, and the old one is good no more", async () => {
  await using data = await folder();
  const secret = await JoinSecret.open({ folder: data.path, clock: new ManualClock() });
  const old = secret.current;
  const rotation = await secret.rotate({ graceMs: 0 });
  expect(rotation).toEqual({ secret: secret.current, previousUntil: undefined });
  expect(secret.current).not.toBe(old);
  expect(isSecret(secret.current)).toBe(true);
  expect(secret.accepted()).toEqual([secret.current]);
  expect(await loadSecret(data.path)).toBe(secret.current);
  expect((await stat(join(data.path, SECRET_FILE))).mode & 0o777).toBe(0o600);
});

test("the old secret is good for as long as its grace, and no other before it is", async () => {
  await using data = await folder();
  const clock = new ManualClock({ now: 1_800_000_000_000 });
  const secret = await JoinSecret.open({ folder: data.path, clock });
  const first = secret.current;
  expect((await secret.rotate({ graceMs: 60_000 })).previousUntil).toBe(1_800_000_060_000);
  const second = secret.current;
  expect(secret.accepted()).toEqual([second, first]);
  clock.advance(59_999);
  expect(secret.accepted()).toEqual([second, first]);
  clock.advance(1);
  expect(secret.accepted()).toEqual([second]);
  await secret.rotate({ graceMs: 60_000 });
  await secret.rotate({ graceMs: 60_000 });
  expect(secret.accepted()).toHaveLength(2);
  expect(secret.accepted()).not.toContain(second);
});

test("rotations of one moment follow each other, and the last one is on the disk", async () => {
  await using data = await folder();
  const secret = await JoinSecret.open({ folder: data.path, clock: new ManualClock() });
  const made = await Promise.all([1, 2, 3].map(() => secret.rotate({ graceMs: 0 })));
  expect(new Set(made.map((rotation) => rotation.secret)).size).toBe(3);
  expect(secret.current).toBe(made[2]?.secret);
  expect((await readFile(join(data.path, SECRET_FILE), "utf8")).trim()).toBe(secret.current);
});

test("a secret of the settings is not replaced, and says where it is to be changed", async () => {
  await using data = await folder();
  const secret = await JoinSecret.open({ folder: data.path, given: "given-by-hand", clock: new ManualClock() });
  await expect(secret.rotate({ graceMs: 0 })).rejects.toMatchObject({
    code: "secret-configured",
    message: expect.stringContaining("--secret"),
  });
  expect(secret.accepted()).toEqual(["given-by-hand"]);
});

test("what cannot be written does not count", async () => {
  await using data = await folder();
  const path = join(data.path, "inner");
  await writeFile(path, "no folder");
  await using other = await folder();
  const secret = await JoinSecret.open({ folder: other.path, clock: new ManualClock() });
  const before = secret.current;
  await rm(other.path, { recursive: true });
  await expect(secret.rotate({ graceMs: 0 })).rejects.toThrow("ENOENT");
  expect(secret.accepted()).toEqual([before]);
});
