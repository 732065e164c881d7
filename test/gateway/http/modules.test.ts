/** `/modules`: what is sent by itself, listed, shown, named by tasks, and refused. */
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { moduleSchema } from "../../../src/api/module-json.ts";
import { problemSchema } from "../../../src/api/problem.ts";
import { ApiGateway, hasNoTasks } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { buildWasm } from "../../support/wasm-builder.ts";

const wasm = guestBytes("hash");
const sha256 = sha256Of(wasm);

function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Differ from each other in a custom section. */
function variant(index: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...wasm, 0, 2, 1, index]);
}

function put(gateway: ApiGateway, body: BodyInit, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${gateway.url}/modules`, { method: "PUT", body, headers });
}

async function problemOf(response: Response): Promise<readonly [number, string, string]> {
  const { code, detail } = problemSchema.parse(await response.json());
  return [response.status, code, detail];
}

describe("PUT /modules", () => {
  test("takes a module's bytes once, says where it is, and knows it when it comes again", async () => {
    await using gateway = await ApiGateway.open();
    const first = await put(gateway, wasm);
    expect([first.status, first.headers.get("location")]).toEqual([201, `/modules/${sha256}`]);
    const module = moduleSchema.parse(await first.json());
    expect(module).toMatchObject({ sha256, kind: "core", size: wasm.length });
    const second = await put(gateway, wasm, { "content-type": "application/x-www-form-urlencoded" });
    expect([second.status, second.headers.get("location")]).toEqual([200, `/modules/${sha256}`]);
    expect(await second.json()).toEqual(module);
    expect(await gateway.files()).toEqual({ blobs: [sha256], unfinished: [] });
  });

  test("tasks name it, and it stays when they are gone", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const { module, isNew } = await client.putModule(wasm);
    expect(isNew).toBe(true);
    await client.submit({ module: module.sha256, id: "a" });
    await client.delete("a");
    expect(await client.getModule(sha256)).toEqual(module);
    await client.submit({ module: module.sha256, id: "b" });
    expect((await client.getTask("b")).module).toBe(sha256);
  });

  test("of one that a task has brought answers 200, and keeps it from then on", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "a" });
    expect((await put(gateway, wasm)).status).toBe(200);
    await client.delete("a");
    expect((await client.getModule(sha256)).sha256).toBe(sha256);
  });

  test("at the same time, many times, stores one and says of one that it is new", async () => {
    await using gateway = await ApiGateway.open();
    const statuses = await Promise.all(Array.from({ length: 8 }, async () => (await put(gateway, wasm)).status));
    expect(statuses.toSorted((a, b) => a - b)).toEqual([200, 200, 200, 200, 200, 200, 200, 201]);
    expect((await gateway.files()).blobs).toEqual([sha256]);
  });

  test.each([
    ["text", Buffer.from("hello"), "not WebAssembly"],
    ["nothing", Buffer.alloc(0), "empty"],
    ["a module without a way in", Buffer.from(buildWasm({ functions: [] })), "no way in"],
  ])("refuses %s and leaves nothing behind", async (_name, body, reason) => {
    await using gateway = await ApiGateway.open();
    const [status, code, detail] = await problemOf(await put(gateway, body));
    expect([status, code]).toEqual([422, "module-rejected"]);
    expect(detail).toContain(reason);
    expect((await gateway.files()).blobs).toEqual([]);
    expect(await gateway.client().listModules().next()).toEqual({ done: true, value: undefined });
  });

  test("refuses a form, and says how it is done", async () => {
    await using gateway = await ApiGateway.open();
    const form = new FormData();
    form.set("wasm", new Blob([wasm]));
    const [status, code, detail] = await problemOf(await put(gateway, form));
    expect([status, code]).toEqual([415, "unsupported-media-type"]);
    expect(detail).toContain("curl -T");
  });

  test("refuses what is too large, announced or not, and leaves nothing behind", async () => {
    await using gateway = await ApiGateway.open({ moduleBytesMax: 1_000 });
    const announced = await problemOf(await put(gateway, wasm));
    expect(announced.slice(0, 2)).toEqual([413, "too-large"]);
    const pieces = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (let at = 0; at < wasm.length; at += 500) controller.enqueue(wasm.subarray(at, at + 500));
        controller.close();
      },
    });
    const init = { method: "PUT", body: pieces, duplex: "half" };
    const streamed = await problemOf(await fetch(`${gateway.url}/modules`, init));
    expect(streamed.slice(0, 2)).toEqual([413, "too-large"]);
    expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  });

  test("a client that goes away in the middle leaves nothing behind", async () => {
    await using gateway = await ApiGateway.open();
    const socket = connect(gateway.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(`PUT /modules HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${wasm.length}\r\n\r\n`);
    socket.write(wasm.subarray(0, 100));
    await expect.poll(async () => (await gateway.files()).unfinished, { timeout: 10_000 }).toHaveLength(1);
    socket.destroy();
    await expect.poll(() => gateway.files(), { timeout: 10_000 }).toEqual({ blobs: [], unfinished: [] });
  });

  test("needs a token that can submit", async () => {
    await using gateway = await ApiGateway.open({ adminToken: "the-admin-token" });
    expect((await problemOf(await put(gateway, wasm)))[0]).toBe(401);
    const { token } = await gateway.client().createToken({ can: ["read"], label: "anna" });
    const headers = { authorization: `Bearer ${token}` };
    expect((await problemOf(await put(gateway, wasm, headers))).slice(0, 2)).toEqual([403, "forbidden"]);
    expect((await fetch(`${gateway.url}/modules`, { headers })).status).toBe(200);
  });

  test("takes nothing while the gateway takes no work", async () => {
    const readiness = { notReadyBecause: () => "the gateway is draining" };
    await using gateway = await ApiGateway.open({ readiness });
    expect((await problemOf(await put(gateway, wasm))).slice(0, 2)).toEqual([503, "not-ready"]);
  });
});

describe("GET /modules", () => {
  test("gives pages, newest first, each with a link to the next, of what tasks have brought too", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const sent: string[] = [];
    for (const index of [1, 2, 3, 4]) {
      const before = Date.now();
      sent.unshift((await client.putModule(variant(index))).module.sha256);
      await expect.poll(() => Date.now()).toBeGreaterThan(before);
    }
    const { module } = await client.submit({ wasm, id: "a" });
    const pages: string[][] = [];
    for (let path: string | undefined = "/modules?limit=2"; path !== undefined;) {
      const response: Response = await fetch(`${gateway.url}${path}`);
      const page = z.array(moduleSchema).parse(await response.json());
      pages.push(page.map((each) => each.sha256));
      path = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    }
    const all = [module, ...sent];
    expect(pages).toEqual([all.slice(0, 2), all.slice(2, 4), all.slice(4)]);
    const listed = await Array.fromAsync(client.listModules({ limit: 3 }));
    expect(listed.map((each) => each.sha256)).toEqual(all.slice(0, 3));
  });

  test("is an empty array before anything is sent, and takes no cursor but its own", async () => {
    await using gateway = await ApiGateway.open();
    expect(await (await fetch(`${gateway.url}/modules`)).json()).toEqual([]);
    expect((await problemOf(await fetch(`${gateway.url}/modules?cursor=abc`))).slice(0, 2)).toEqual([
      400,
      "invalid-field",
    ]);
  });
});

test("a submission that names a module while it is let go is either accepted, with its bytes, or refused", async () => {
  await using gateway = await ApiGateway.open();
  const client = gateway.client();
  await client.putModule(wasm);
  for (let round = 0; round < 10; round++) {
    const { module } = await client.putModule(wasm);
    const submitting = client.submit({ module: module.sha256, id: `t${round}` }).then(
      () => "accepted",
      (error: unknown) => (String(error).includes("does not have") ? "refused" : String(error)),
    );
    const now = Date.now() + 1_000_000;
    const { released } = await gateway.store.releaseModules(now, 10, now);
    await gateway.pins.retireFreed({ digests: released, hasMore: false });
    const ended = await submitting;
    expect(["accepted", "refused"]).toContain(ended);
    const isThere = (await gateway.files()).blobs.includes(sha256);
    expect(isThere).toBe(ended === "accepted");
    if (ended === "accepted") await client.delete(`t${round}`);
  }
  expect(await hasNoTasks(gateway.store)).toBe(true);
});
