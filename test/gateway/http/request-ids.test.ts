import { expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import type { Log, LogFields } from "../../../src/base/log.ts";
import { ApiGateway } from "../../support/api-gateway.ts";

interface Line extends LogFields {
  readonly level: string;
  readonly message: string;
}

function keptLog(lines: Line[]): Log {
  const keep = (level: string) => (message: string, fields?: LogFields) =>
    void lines.push({ ...fields, level, message });
  const log = { debug: keep("debug"), info: keep("info"), warn: keep("warn"), error: keep("error"), child: () => log };
  return log;
}

test("a request's id is in its answer, in the document of its refusal, and in the log", async () => {
  const lines: Line[] = [];
  await using gateway = await ApiGateway.open({ log: keptLog(lines) });
  const refused = await fetch(`${gateway.url}/tasks/none`, { headers: { "x-request-id": "mine-1" } });
  expect(refused.headers.get("x-request-id")).toBe("mine-1");
  expect(problemSchema.parse(await refused.json()).requestId).toBe("mine-1");
  const own = (await fetch(`${gateway.url}/tasks?limit=1`)).headers.get("x-request-id") ?? "";
  expect(own).toMatch(/^[0-9a-f-]{36}$/);
  await expect.poll(() => lines.filter(({ message }) => message === "answered a request").length).toBe(2);
  expect(lines.find(({ requestId }) => requestId === "mine-1")).toMatchObject({
    level: "debug",
    method: "GET",
    path: "/tasks/none",
    status: 404,
    by: "local",
    isCut: false,
  });
  expect(lines.find(({ requestId }) => requestId === own)).toMatchObject({ path: "/tasks", status: 200 });
});

test("what goes wrong inside is logged under the id that the caller was given, and the cause stays here", async () => {
  const lines: Line[] = [];
  await using gateway = await ApiGateway.open({
    log: keptLog(lines),
    readiness: {
      notReadyBecause: () => {
        throw new Error("a secret of the inside");
      },
    },
  });
  const failed = await fetch(`${gateway.url}/readyz`);
  expect(failed.status).toBe(500);
  const text = await failed.text();
  expect(text).not.toContain("secret of the inside");
  const { requestId } = problemSchema.parse(JSON.parse(text));
  expect(lines.find(({ level }) => level === "error")).toMatchObject({ requestId, path: "/readyz" });
});

test("ids that would break a log are not taken", async () => {
  await using gateway = await ApiGateway.open();
  for (const given of ["a b", "x".repeat(65), "a;b", "<a>", ""]) {
    const { headers } = await fetch(`${gateway.url}/livez`, { headers: { "x-request-id": given } });
    expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  }
});
