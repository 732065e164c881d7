/** What the audit log says of requests. */
import { createHash } from "node:crypto";
import { expect, test, vi } from "vitest";
import { auditEntrySchema } from "../../../src/api/token-json.ts";
import { type Log, silentLog } from "../../../src/base/log.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const hash = guestBytes("hash");
const digest = createHash("sha256").update(hash).digest("hex");

async function entriesOf(gateway: ApiGateway): Promise<readonly string[]> {
  const response = await fetch(`${gateway.url}/audit`);
  const entries = auditEntrySchema.array().parse(await response.json());
  return entries.map(({ actor, action, subject }) => `${actor} ${action} ${subject}`).toReversed();
}

function form(id: string): FormData {
  const body = new FormData();
  body.set("id", id);
  body.set("wasm", new Blob([hash]));
  return body;
}

test("tells what was done for a client that has gone before its answer", async () => {
  let onCut = (): void => {};
  const log: Log = {
    ...silentLog,
    debug: (message) => void (message === "answered a request" && onCut()),
    child: () => log,
  };
  await using gateway = await ApiGateway.open({ log });
  const { store } = gateway;
  const goneBefore = async (operation: "createTask" | "cancelTask" | "retryTask" | "deleteTask", request: string) => {
    const gone = new AbortController();
    const done = Promise.withResolvers<void>();
    const original: (...args: never) => Promise<unknown> = store[operation].bind(store);
    using _ = vi.spyOn(store, operation).mockImplementation(async (...args: readonly unknown[]) => {
      const cut = Promise.withResolvers<void>();
      onCut = () => cut.resolve();
      gone.abort();
      await cut.promise;
      const result = await original(...(args as never));
      done.resolve();
      return result as never;
    });
    const [method = "", path = ""] = request.split(" ");
    const body = path === "/tasks" ? { body: form("a") } : {};
    await expect(fetch(`${gateway.url}${path}`, { method, signal: gone.signal, ...body })).rejects.toThrow("abort");
    await done.promise;
  };
  await goneBefore("createTask", "POST /tasks");
  await goneBefore("cancelTask", "POST /tasks/a/cancel");
  await goneBefore("retryTask", "POST /tasks/a/retry");
  await goneBefore("deleteTask", "DELETE /tasks/a");
  await expect
    .poll(() => entriesOf(gateway))
    .toEqual(["local task.submitted a", "local task.cancelled a", "local task.retried a", "local task.deleted a"]);
});

test("names every task of a batch, and none that a replay only shows again", async () => {
  await using gateway = await ApiGateway.open();
  const submit = () => fetch(`${gateway.url}/tasks`, { method: "POST", body: form("a"), headers: KEY });
  const batch = (headers: Record<string, string>) =>
    fetch(`${gateway.url}/tasks/batch`, {
      method: "POST",
      body: ["b", "c"].map((id) => JSON.stringify({ id, module: digest })).join("\n"),
      headers: { ...headers, "content-type": "application/x-ndjson" },
    });
  const put = () => fetch(`${gateway.url}/modules`, { method: "PUT", body: hash });
  for (const answer of [await submit(), await submit(), await batch(OTHER_KEY), await batch(OTHER_KEY), await put()]) {
    expect(answer.ok).toBe(true);
    await answer.text();
  }
  // Refused: nothing was done.
  expect((await batch({})).status).toBe(409);
  expect(await entriesOf(gateway)).toEqual([
    "local task.submitted a",
    "local task.submitted b",
    "local task.submitted c",
    `local module.stored ${digest}`,
  ]);
});

test("tells of workers what was done to which", async () => {
  await using gateway = await ApiGateway.open();
  const id = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";
  await fetch(`${gateway.url}/workers/${id}/admit`, { method: "POST" });
  await fetch(`${gateway.url}/workers/${id}/drain`, { method: "POST" });
  await fetch(`${gateway.url}/workers/${id}`, { method: "DELETE" });
  // Nobody there to drain.
  expect(await entriesOf(gateway)).toEqual([`local worker.admitted ${id}`, `local worker.barred ${id}`]);
});

const KEY = { "idempotency-key": "k1" };
const OTHER_KEY = { "idempotency-key": "k2" };
