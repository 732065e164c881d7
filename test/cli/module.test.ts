/** `capmesh module` as a process, against a real API. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { moduleSchema } from "../../src/api/module-json.ts";
import { ApiGateway } from "../support/api-gateway.ts";
import { CommandLine } from "../support/command-line.ts";
import { guestBytes } from "../support/guests.ts";

const wasm = guestBytes("hash");

test("a module is pushed, listed, and inspected by its digest", async () => {
  await using gateway = await ApiGateway.open();
  await using line = await CommandLine.create();
  await writeFile(join(line.home, "hash.wasm"), wasm);
  const options = { env: { CAPMESH_URL: gateway.url } };
  expect((await line.run(["module", "ls"], options)).stderr).toContain("module push");
  const pushed = await line.run(["module", "push", "hash.wasm"], options);
  expect(pushed).toMatchObject({ code: 0, stderr: "the gateway has it now\n" });
  const sha256 = pushed.stdout.trim();
  const again = await line.run(["module", "push", "hash.wasm", "--json"], options);
  expect(JSON.parse(again.stdout)).toMatchObject({ sha256, isNew: false });
  const listed = await line.run(["module", "ls", "--json"], options);
  expect(
    z
      .array(moduleSchema)
      .parse(JSON.parse(listed.stdout))
      .map((module) => module.sha256),
  ).toEqual([sha256]);
  expect((await line.run(["module", "ls"], options)).stdout).toMatch(new RegExp(`${sha256} +core +${wasm.length} `));
  const inspected = await line.run(["module", "inspect", sha256], options);
  expect(inspected.stdout).toMatch(/export +run +\(i32,i32\)->\(i32\)/);
  const unknown = await line.run(["module", "inspect", "0".repeat(64)], options);
  expect(unknown).toMatchObject({ code: 3, stderr: expect.stringContaining("no module") });
});

test("a file is inspected without a gateway", async () => {
  await using line = await CommandLine.create();
  await writeFile(join(line.home, "hash.wasm"), wasm);
  const options = { env: { CAPMESH_URL: "http://127.0.0.1:1" } };
  const inspected = await line.run(["module", "inspect", "hash.wasm", "--json"], options);
  expect(JSON.parse(inspected.stdout)).toMatchObject({ kind: "core", size: wasm.length, rejection: null });
  await writeFile(join(line.home, "text"), "hello");
  const refused = await line.run(["module", "inspect", "text"], options);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("text") });
  const missing = await line.run(["module", "push", "absent.wasm"], options);
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining("absent.wasm") });
});
