/** A gateway whose disk fills up: it says so, loses nothing, and goes on by itself when there is room again. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { ApiError } from "../../src/client/api-error.ts";
import { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, type Ready, eventually, guestPath } from "../support/processes.ts";
import { SmallDisk, noSmallDiskBecause } from "../support/small-disk.ts";

const MINUTES = 60_000;
const reason = noSmallDiskBecause();
if (reason !== undefined) console.log(`full disk: skipped, ${reason}`);

const PUZZLE = { input: 0, difficulty: 0 };

test.skipIf(reason !== undefined)("a full disk", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  await using disk = await SmallDisk.mount(64);
  const start = () =>
    cluster.start({
      args: [
        "--gateway",
        "--no-mdns",
        "--listen",
        "/ip4/127.0.0.1/tcp/0",
        "--http",
        "127.0.0.1:0",
        "--data",
        disk.path,
      ],
      wrapper: disk.through,
    });
  let gateway = start();
  let ready = await gateway.ready;
  let client = clientOf(ready);
  const wasm = await readFile(guestPath("hash"));
  const first = await client.submit({ ...PUZZLE, id: "first", wasm });

  disk.fill();
  await eventually(async () => ((await readiness(ready)).status === 503 ? true : undefined));
  expect((await readiness(ready)).text).toMatch(/store-unavailable.*its disk is (nearly )?full/s);
  const refused = await fetch(`${ready.http}/tasks`, {
    method: "POST",
    body: formOf({ module: String(first.module) }),
  });
  expect(refused.status).toBe(503);
  expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
  expect(await refused.json()).toMatchObject({ code: "store-unavailable" });
  expect((await fetch(`${ready.http}/tasks`)).status).toBe(200);
  expect((await client.getTask("first")).state).toBe("ready");

  // Killed on the full disk, and started again on it: what was accepted is there to be read.
  gateway.kill("SIGKILL");
  await gateway.exited;
  gateway = start();
  ready = await gateway.ready;
  client = clientOf(ready);
  expect((await client.getTask("first")).state).toBe("ready");
  await expect(client.submit({ ...PUZZLE, module: first.module })).rejects.toThrow(ApiError);

  await disk.free();
  await eventually(async () => ((await readiness(ready)).status === 200 ? true : undefined));
  await client.submit({ ...PUZZLE, id: "second", module: first.module });
  const worker = cluster.start({ args: ["--dial", ready.dial ?? "", "--no-mdns", "--slots", "1"] });
  await worker.ready;
  for (const id of ["first", "second"]) expect((await client.waitForTask(id)).result?.value).toBe("1");
});

function clientOf({ http = "" }: Ready): CapmeshClient {
  return new CapmeshClient({ url: http });
}

async function readiness({ http }: Ready): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`${http}/readyz`);
  return { status: response.status, text: await response.text() };
}

function formOf(fields: Readonly<Record<string, string>>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  return form;
}
