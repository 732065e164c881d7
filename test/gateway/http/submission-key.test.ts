/** `Idempotency-Key`: what is sent twice is made once. */
import { createHash } from "node:crypto";
import { type IncomingMessage, request } from "node:http";
import { json } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { SUBMISSION_KEPT_MS, SUBMISSION_KEY_LENGTH_MAX } from "../../../src/base/limits.ts";
import { formFingerprint } from "../../../src/gateway/http/submission-key.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const hash = guestBytes("hash");
const hello = guestBytes("hello");
const digest = createHash("sha256").update(hash).digest("hex");

function post(
  gateway: ApiGateway,
  key: string,
  fields: Readonly<Record<string, string | Blob>> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const form = new FormData();
  for (const [field, value] of Object.entries({ wasm: new Blob([hash]), ...fields })) form.append(field, value);
  return fetch(`${gateway.url}/tasks`, { method: "POST", body: form, headers: { "idempotency-key": key, ...headers } });
}

async function codeOf(response: Response): Promise<string> {
  return problemSchema.parse(await response.json()).code;
}

describe("a request that is sent again with its Idempotency-Key", () => {
  test("gets the original 201 and body, whatever has become of the task", async () => {
    await using gateway = await ApiGateway.open();
    const fields = { input: "0", difficulty: "3", description: "é" };
    const first = await post(gateway, "k1", fields);
    expect(first.status).toBe(201);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const body = await first.text();
    const [task] = (await gateway.store.listTasks({ limit: 2 })).tasks;
    const id = task?.spec.id ?? "";
    await gateway.succeed(await gateway.start(id));
    for (const look of ["finished", "deleted"]) {
      if (look === "deleted") await gateway.client().delete(id);
      const again = await post(gateway, "k1", fields);
      expect(again.status).toBe(201);
      expect(again.headers.get("location")).toBe(first.headers.get("location"));
      expect(again.headers.get("idempotency-replayed")).toBe("true");
      expect(await again.text()).toBe(body);
    }
    expect((await gateway.store.listTasks({ limit: 2 })).tasks).toEqual([]);
    expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  });

  test("makes one task, though both come at once", async () => {
    await using gateway = await ApiGateway.open();
    const responses = await Promise.all(Array.from({ length: 6 }, () => post(gateway, "k1")));
    expect(responses.map(({ status }) => status)).toEqual(Array<number>(6).fill(201));
    const bodies = await Promise.all(responses.map((response) => response.text()));
    expect(new Set(bodies).size).toBe(1);
    expect((await gateway.store.listTasks({ limit: 9 })).tasks).toHaveLength(1);
    expect(await gateway.files()).toEqual({ blobs: [digest], unfinished: [] });
  });

  test("is told so where it is another one, and nothing of it stays", async () => {
    await using gateway = await ApiGateway.open();
    await post(gateway, "k1", { stdin: "a" });
    for (const fields of [
      { stdin: "b" },
      { stdin: new Blob(["a"]) },
      { stdin: "a", description: "" },
      { stdin: "a", wasm: new Blob([hello]) },
    ]) {
      const response = await post(gateway, "k1", fields);
      expect(response.status).toBe(409);
      expect(await codeOf(response)).toBe("idempotency-mismatch");
    }
    expect((await gateway.store.listTasks({ limit: 9 })).tasks).toHaveLength(1);
    expect(await gateway.files()).toEqual({ blobs: [digest], unfinished: [] });
  });

  test("with an id of its own is no conflict with itself", async () => {
    await using gateway = await ApiGateway.open();
    const twins = await Promise.all([post(gateway, "k1", { id: "mine" }), post(gateway, "k1", { id: "mine" })]);
    expect(twins.map(({ status }) => status)).toEqual([201, 201]);
    expect((await post(gateway, "k1", { id: "mine" })).status).toBe(201);
    expect(await codeOf(await post(gateway, "k2", { id: "mine" }))).toBe("id-taken");
  });

  test("is accepted if it was refused before", async () => {
    await using gateway = await ApiGateway.open();
    expect(await codeOf(await post(gateway, "k1", { after: "a" }))).toBe("invalid-field");
    await post(gateway, "k2", { id: "a" });
    expect((await post(gateway, "k1", { after: "a" })).status).toBe(201);
  });

  test("is a new one after a day", async () => {
    const clock = new ManualClock();
    await using gateway = await ApiGateway.open({ clock });
    const first = await (await post(gateway, "k1")).text();
    clock.advance(SUBMISSION_KEPT_MS - 1);
    expect(await (await post(gateway, "k1")).text()).toBe(first);
    clock.advance(1);
    expect(await (await post(gateway, "k1")).text()).not.toBe(first);
  });

  test.each(["two words", '"8e03978e-40d5-43dd"', "a, b", "x".repeat(SUBMISSION_KEY_LENGTH_MAX)])(
    "is known again by the key %j, whatever white space is around it",
    async (key) => {
      await using gateway = await ApiGateway.open();
      const first = await post(gateway, key);
      expect(first.status).toBe(201);
      expect(await (await post(gateway, ` \t${key} `)).text()).toBe(await first.text());
      expect((await gateway.store.listTasks({ limit: 9 })).tasks).toHaveLength(1);
    },
  );

  test("is refused with two keys", async () => {
    await using gateway = await ApiGateway.open();
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const headers = ["Host", `127.0.0.1:${gateway.port}`, "Idempotency-Key", "a", "Idempotency-Key", "b"];
    const asked = request(`${gateway.url}/tasks/batch`, { method: "POST", headers, agent: false }, resolve);
    asked.on("error", reject).end();
    const response = await promise;
    const problem = problemSchema.parse(await json(response));
    expect(problem).toMatchObject({ status: 400, detail: "Idempotency-Key is given 2 times: give it once" });
  });

  test.each(["", " ", "a\tb", "é", "x".repeat(SUBMISSION_KEY_LENGTH_MAX + 1)])(
    "is refused with the key %j",
    async (key) => {
      await using gateway = await ApiGateway.open();
      const response = await post(gateway, Buffer.from(key).toString("latin1"));
      expect(response.status).toBe(400);
      const { code, errors } = problemSchema.parse(await response.json());
      expect([code, errors?.[0]?.field]).toEqual(["invalid-field", "Idempotency-Key"]);
    },
  );
});

test("a form's fingerprint is of its values in their order, and not of the order of its fields", () => {
  const files = [{ field: "wasm", name: "", digest }];
  const of = (...fields: [string, string[]][]) => formFingerprint(new Map(fields), files);
  expect(of(["a", ["1"]], ["b", ["2"]])).toBe(of(["b", ["2"]], ["a", ["1"]]));
  expect(of(["a", ["1", "2"]])).not.toBe(of(["a", ["2", "1"]]));
  expect(of(["a", ["1,2"]])).not.toBe(of(["a", ["1", "2"]]));
  expect(of(["a", []])).not.toBe(of());
  expect(formFingerprint(new Map(), [])).not.toBe(formFingerprint(new Map(), files));
});
