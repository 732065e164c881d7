import { Validator } from "@seriousme/openapi-schema-validator";
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { BATCH_TYPES } from "../../src/api/batch.ts";
import { ENDPOINTS, findEndpoint } from "../../src/api/endpoints.ts";
import { openApiDocument } from "../../src/api/openapi.ts";
import { RUN_EXAMPLE, SUBMISSION_EXAMPLE, TASK_EXAMPLE, WORKER_EXAMPLE } from "../../src/api/openapi-examples.ts";
import { PROBLEMS } from "../../src/api/problem.ts";
import { runSchema } from "../../src/api/run-json.ts";
import { parseSubmission } from "../../src/api/submission.ts";
import { taskSchema } from "../../src/api/task-json.ts";
import { workerSchema } from "../../src/api/worker-json.ts";

const operationSchema = z.object({
  operationId: z.string(),
  summary: z.string(),
  responses: z.record(z.string(), z.unknown()),
});
const propertySchema = z.looseObject({
  description: z.string().optional(),
  examples: z.array(z.unknown()).optional(),
  format: z.string().optional(),
});
const componentsSchema = z.object({
  components: z.object({
    schemas: z.record(z.string(), z.looseObject({ properties: z.record(z.string(), propertySchema).optional() })),
  }),
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

  test.each(["Submission", "Task", "Run", "Worker", "Member", "Module"])("explains every field of %s", (name) => {
    const { components } = componentsSchema.parse(JSON.parse(JSON.stringify(openApiDocument("1.0.0"))));
    const properties = components.schemas[name]?.properties ?? {};
    const unexplained = Object.entries(properties).filter(([, { description }]) => description === undefined);
    expect(Object.keys(properties).length).toBeGreaterThan(0);
    expect(unexplained.map(([field]) => field)).toEqual([]);
  });

  test("gives an example of every field of a submission that is no file", () => {
    const { components } = componentsSchema.parse(JSON.parse(JSON.stringify(openApiDocument("1.0.0"))));
    const fields = Object.entries(components.schemas["Submission"]?.properties ?? {});
    const bare = fields.filter(([, { examples, format }]) => examples === undefined && format !== "binary");
    expect(bare.map(([field]) => field)).toEqual([]);
  });

  test("has examples that its own schemas take", () => {
    expect(() => [taskSchema.strict().parse(TASK_EXAMPLE), runSchema.strict().parse(RUN_EXAMPLE)]).not.toThrow();
    expect(() => workerSchema.strict().parse(WORKER_EXAMPLE)).not.toThrow();
    const { wasm: _, ...fields } = SUBMISSION_EXAMPLE;
    const texts = new Map(Object.entries(fields).map(([name, text]) => [name, [text]]));
    expect(parseSubmission({ texts, hasModuleFile: true, now: 0 })).toMatchObject({ ok: true });
  });

  test("says what to do about refusals that pass", () => {
    const document: unknown = JSON.parse(JSON.stringify(openApiDocument("1.0.0")));
    const drains = {
      description: expect.stringMatching(
        /`not-ready`: [^`]*\. It drains, [^`]* after `Retry-After`, or to another gateway/,
      ),
      headers: { "Retry-After": { description: expect.any(String), schema: { type: "integer" } } },
    };
    for (const path of ["/tasks", "/tasks/batch"]) {
      expect(document).toMatchObject({ paths: { [path]: { post: { responses: { 503: drains } } } } });
    }
  });

  test("has no code that the README does not list", async () => {
    const readme = await readFile("README.md", "utf8");
    const rows = new Map(readme.matchAll(/^\| (\d{3}) +\| (`.*`) +\|$/gm).map(([, status, codes]) => [status, codes]));
    for (const [code, { status }] of Object.entries(PROBLEMS)) {
      expect(rows.get(String(status))?.split(" "), `the codes with ${status}`).toContain(`\`${code}\``);
    }
  });

  test("says of batches what they may be called", () => {
    const document: unknown = JSON.parse(JSON.stringify(openApiDocument("1.0.0")));
    const content = Object.fromEntries(BATCH_TYPES.map((type) => [type, expect.anything()]));
    expect(document).toMatchObject({ paths: { "/tasks/batch": { post: { requestBody: { content } } } } });
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
