import { Validator } from "@seriousme/openapi-schema-validator";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ENDPOINTS, findEndpoint } from "../../src/api/endpoints.ts";
import { openApiDocument } from "../../src/api/openapi.ts";

const operationSchema = z.object({
  operationId: z.string(),
  summary: z.string(),
  responses: z.record(z.string(), z.unknown()),
});
const documentSchema = z.object({ paths: z.record(z.string(), z.record(z.string(), operationSchema)) });

describe("the OpenAPI document", () => {
  test("is valid OpenAPI 3.1", async () => {
    const result = await new Validator().validate(
      z.record(z.string(), z.unknown()).parse(JSON.parse(JSON.stringify(openApiDocument("1.0.0")))),
    );
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
  });

  test("describes every address once, each with its answer and its refusals", () => {
    const { paths } = documentSchema.parse(openApiDocument("1.0.0"));
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, ...operation })),
    );
    const expected = ENDPOINTS.filter(({ path }) => !path.startsWith("/page.")).map(
      ({ method, path }) => `${method.toLowerCase()} ${path.replace("*}", "}")}`,
    );
    expect(operations.map(({ name }) => name).toSorted()).toEqual(expected.toSorted());
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
    for (const { responses } of operations)
      expect(Object.keys(responses).some((status) => status.startsWith("2"))).toBe(true);
  });

  test("says of submissions that they can be sent again", () => {
    const document: unknown = JSON.parse(JSON.stringify(openApiDocument("1.0.0")));
    const parameter = { in: "header", name: "Idempotency-Key", schema: expect.objectContaining({ maxLength: 255 }) };
    for (const path of ["/tasks", "/tasks/batch"]) {
      const post = { parameters: expect.arrayContaining([expect.objectContaining(parameter)]) };
      expect(document).toMatchObject({ paths: { [path]: { post } } });
    }
  });
});

describe("an address", () => {
  test.each([
    ["GET", "/tasks", "/tasks"],
    ["HEAD", "/tasks/", "/tasks"],
    ["POST", "/tasks/batch", "/tasks/batch"],
    ["GET", "/tasks/batch", "/tasks/{id}"],
    ["GET", "/", "/"],
    ["GET", "/tasks/a/runs/1/files/out/b.txt", "/tasks/{id}/runs/{n}/files/{path*}"],
  ])("%s %s is found", (method, path, expected) => {
    expect(findEndpoint(method, path)).toMatchObject({ kind: "found", endpoint: { path: expected } });
  });

  test.each(["/nowhere", "/tasks/a/b", "/tasksx", "//", "/tasks/a/cancel/b", "/__proto__"])("%s is none", (path) => {
    expect(findEndpoint("GET", path)).toEqual({ kind: "not-found" });
  });

  test("that takes other methods names them", () => {
    expect(findEndpoint("POST", "/tasks/a")).toEqual({ kind: "wrong-method", allow: "GET, HEAD, DELETE" });
    expect(findEndpoint("PATCH", "/tasks/batch")).toMatchObject({
      kind: "wrong-method",
      allow: "POST, GET, HEAD, DELETE",
    });
  });
});
