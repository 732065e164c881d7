/**
 * The API's description in OpenAPI 3.1, made from the table of its addresses (`endpoints.ts`) and from the schemas by
 * which requests are checked and answers are read. An address that is not described here is an error of this program.
 * It is long for having a word on every address.
 */
import { z } from "zod";
import { type ZodOpenApiObject, type ZodOpenApiOperationObject, createDocument } from "zod-openapi";
import { assert } from "../base/errors.ts";
import { SUBMISSION_KEY_LENGTH_MAX } from "../base/limits.ts";
import { BATCH_TYPES } from "./batch.ts";
import { ENDPOINTS, type Endpoint } from "./endpoints.ts";
import { explanationSchema } from "./explanation.ts";
import { eventSchema } from "./event-json.ts";
import { keptFileSchema } from "./file-json.ts";
import { logEndSchema, logTextSchema, logTruncatedSchema } from "./log-event.ts";
import { moduleSchema } from "./module-json.ts";
import { BATCH_EXAMPLE, RUN_EXAMPLE, SUBMISSION_EXAMPLE, TASK_EXAMPLE, WORKER_EXAMPLE } from "./openapi-examples.ts";
import { PASSING_PROBLEMS, PROBLEMS, PROBLEM_MEDIA_TYPE, type ProblemCode, problemSchema } from "./problem.ts";
import { runSchema } from "./run-json.ts";
import { SUBMISSION_KEY_HEADER, SUBMISSION_KEY_PATTERN } from "./submission-key.ts";
import { submissionFormSchema } from "./submission-form.ts";
import { taskSchema } from "./task-json.ts";
import { rotatedSecretSchema } from "./secret-json.ts";
import { auditEntrySchema, madeTokenSchema, tokenRequestSchema, tokenSchema } from "./token-json.ts";
import { memberSchema, workerSchema } from "./worker-json.ts";

type Content = Readonly<Record<string, { readonly schema: z.ZodType; readonly example?: unknown }>>;
interface Answer {
  readonly status: number;
  readonly description: string;
  readonly content?: Content;
}
type Operation = Omit<ZodOpenApiOperationObject, "responses" | "requestParams"> & {
  readonly query?: z.ZodObject;
  readonly header?: z.ZodObject;
  readonly answer: Answer;
  /** Others that are no refusals. */
  readonly otherAnswers?: readonly Answer[];
  /** The refusals that are its own; those that any request may meet are added. */
  readonly refusals?: readonly ProblemCode[];
};

const SUBMISSION = submissionFormSchema.meta({ id: "Submission" });
const TASK = taskSchema.meta({ id: "Task" });
const RUN = runSchema.meta({ id: "Run" });
const MODULE = moduleSchema.meta({ id: "Module" });
const WORKER = workerSchema.meta({ id: "Worker" });
const MEMBER = memberSchema.meta({ id: "Member" });
const TOKEN = tokenSchema.meta({ id: "Token" });
const ROTATED_SECRET = rotatedSecretSchema.meta({ id: "RotatedSecret" });
const MADE_TOKEN = madeTokenSchema.meta({ id: "MadeToken" });
const AUDIT_ENTRY = auditEntrySchema.meta({ id: "AuditEntry" });
const EVENT = eventSchema.meta({ id: "Event" });
const PROBLEM = problemSchema.meta({ id: "Problem" });
const LOG_EVENT = z.union([logTextSchema, logTruncatedSchema, logEndSchema]).meta({ id: "LogEvent" });

const KEPT_FILE = keptFileSchema.meta({ id: "KeptFile" });
const EXPLANATION = explanationSchema.meta({ id: "Explanation" });
const BATCH_LINE = z.looseObject({ module: z.string().optional() }).meta({
  id: "BatchLine",
  description:
    "The fields of a submission; numbers and lists may be JSON's own. `module` may be left out with an entry of a worker's own.",
});

const json = (schema: z.ZodType, example?: unknown): Content => ({
  "application/json": { schema, ...(example !== undefined && { example }) },
});
const plain = (media: string, description: string): Content => ({
  [media]: { schema: z.string().meta({ description }) },
});
const limit = z
  .int()
  .min(1)
  .max(1000)
  .optional()
  .meta({ description: "How many at most.", examples: [100] });
const cursor = z.string().optional().meta({ description: "From the `Link` of the page before." });

/** Of submissions. */
const KEY_HEADER = z.object({
  [SUBMISSION_KEY_HEADER]: z
    .string()
    .min(1)
    .max(SUBMISSION_KEY_LENGTH_MAX)
    .regex(SUBMISSION_KEY_PATTERN)
    .optional()
    .meta({
      description:
        "Makes it safe to send the request again: within 24 hours the same one gets the first answer, another one is refused.",
      examples: ["0198c0de-7000-7000-8000-000000000001"],
    }),
});

const RETRY_HEADER = z.object({
  "Retry-After": z.int().min(1).optional().meta({ description: "In how many seconds to ask again." }),
});

/** Of addresses that have something in them to be got wrong. */
const BAD_REQUEST: readonly ProblemCode[] = ["invalid-request", "invalid-field"];
const NOT_CHANGED: Answer = { status: 304, description: "It is what `If-None-Match` names." };

const OPERATIONS: Readonly<Record<string, Operation>> = {
  "GET /": {
    summary: "The dashboard",
    answer: { status: 200, description: "A page.", content: plain("text/html", "") },
  },
  "GET /livez": {
    summary: "Whether the process lives",
    answer: {
      status: 200,
      description: "It does.",
      content: json(z.object({ status: z.literal("ok"), version: z.string() })),
    },
  },
  "GET /readyz": {
    summary: "Whether it takes work",
    answer: { status: 200, description: "It does.", content: json(z.object({ status: z.literal("ok") })) },
    refusals: ["not-ready", "store-unavailable"],
  },
  "GET /openapi.json": {
    summary: "This document",
    answer: { status: 200, description: "OpenAPI 3.1.", content: json(z.looseObject({ openapi: z.string() })) },
    otherAnswers: [NOT_CHANGED],
  },
  "GET /metrics": {
    summary: "Metrics for Prometheus",
    answer: { status: 200, description: "Text format.", content: plain("text/plain", "Prometheus text format") },
  },
  "GET /tasks": {
    summary: "Tasks, newest first",
    query: z.object({ state: TASK.shape.state.optional(), limit, cursor }),
    answer: { status: 200, description: "A page; `Link` has the next.", content: json(z.array(TASK), [TASK_EXAMPLE]) },
    otherAnswers: [NOT_CHANGED],
  },
  "POST /tasks": {
    summary: "Submit a task",
    description: "It is on disk, and will not be lost, when this is answered.",
    header: KEY_HEADER,
    requestBody: {
      required: true,
      content: { "multipart/form-data": { schema: SUBMISSION, example: SUBMISSION_EXAMPLE } },
    },
    answer: { status: 201, description: "The task; `Location` has its address.", content: json(TASK, TASK_EXAMPLE) },
    refusals: [
      "invalid-field",
      "id-taken",
      "idempotency-mismatch",
      "too-slow",
      "too-large",
      "unsupported-media-type",
      "module-rejected",
      "queue-full",
      "not-ready",
    ],
  },
  "GET /tasks/{id}": {
    summary: "One task",
    query: z.object({
      wait: z
        .string()
        .optional()
        .meta({ description: "Answer once it has finished, or after this time.", examples: ["30s"] }),
    }),
    answer: { status: 200, description: "The task.", content: json(TASK, TASK_EXAMPLE) },
    otherAnswers: [NOT_CHANGED],
    refusals: ["no-such-task"],
  },
  "DELETE /tasks/{id}": {
    summary: "Cancel and forget a task",
    answer: { status: 204, description: "Its id is free again." },
    refusals: ["no-such-task"],
  },
  "POST /tasks/{id}/cancel": {
    summary: "Cancel a task",
    answer: { status: 200, description: "The task.", content: json(TASK, TASK_EXAMPLE) },
    refusals: ["no-such-task", "already-finished"],
  },
  "POST /tasks/batch": {
    summary: "Submit many tasks in one transaction",
    header: KEY_HEADER,
    requestBody: {
      required: true,
      description: "One task a line, as the fields of `POST /tasks`, each with the `module` that it uses.",
      content: Object.fromEntries(BATCH_TYPES.map((type) => [type, { schema: BATCH_LINE, example: BATCH_EXAMPLE }])),
    },
    answer: {
      status: 200,
      description: "The tasks, one a line, in the same order.",
      content: { "application/x-ndjson": { schema: TASK } },
    },
    refusals: [
      "invalid-field",
      "id-taken",
      "idempotency-mismatch",
      "too-large",
      "unsupported-media-type",
      "module-rejected",
      "queue-full",
      "not-ready",
    ],
  },
  "POST /tasks/{id}/retry": {
    summary: "Run its failed and cancelled runs again",
    answer: { status: 200, description: "The task.", content: json(TASK, TASK_EXAMPLE) },
    refusals: ["no-such-task", "not-finished", "nothing-to-retry", "dependency-failed", "queue-full", "not-ready"],
  },
  "GET /tasks/{id}/explain": {
    summary: "Why it is where it is, in words and as data",
    answer: { status: 200, description: "Its state, and the reasons.", content: json(EXPLANATION) },
    refusals: ["no-such-task"],
  },
  "GET /tasks/{id}/runs/{n}/files": {
    summary: "Files that were kept of a run",
    answer: { status: 200, description: "All of them, by path.", content: json(z.array(KEPT_FILE)) },
    refusals: ["no-such-task", "no-such-run"],
  },
  "GET /tasks/{id}/runs/{n}/files/{path*}": {
    summary: "A file that was kept of a run",
    answer: { status: 200, description: "Its bytes.", content: plain("application/octet-stream", "The file's bytes") },
    otherAnswers: [
      {
        status: 206,
        description: "The bytes that `Range` asks for.",
        content: plain("application/octet-stream", "The bytes"),
      },
      NOT_CHANGED,
    ],
    refusals: ["no-such-task", "no-such-run", "no-such-file", "range-not-satisfiable"],
  },
  "GET /tasks/{id}/logs": {
    summary: "Output of a run, as it is or live",
    description: "With `follow=1`, or `Accept: text/event-stream`, events `stdout`, `stderr`, `truncated` and `end`.",
    query: z.object({
      run: z
        .string()
        .optional()
        .meta({ description: "Its index, or `all`. Default: the run that started last.", examples: ["1"] }),
      stream: z.enum(["stdout", "stderr"]).optional(),
      offset: z.int().min(0).optional().meta({ description: "The first byte, counted over both streams." }),
      follow: z.enum(["0", "1"]).optional(),
    }),
    answer: {
      status: 200,
      description: "The bytes, or events whose `id` is where to resume (`Last-Event-ID`).",
      content: { ...plain("text/plain", "The output's bytes"), "text/event-stream": { schema: LOG_EVENT } },
    },
    refusals: ["no-such-task", "no-such-run", "invalid-field", "too-many-streams"],
  },
  "GET /tasks/{id}/runs": {
    summary: "Runs of a task, by index",
    query: z.object({ limit, cursor }),
    answer: { status: 200, description: "A page; `Link` has the next.", content: json(z.array(RUN), [RUN_EXAMPLE]) },
    refusals: ["no-such-task"],
  },
  "GET /tasks/{id}/runs/{n}": {
    summary: "One run, from 1",
    answer: { status: 200, description: "The run, with its attempts.", content: json(RUN, RUN_EXAMPLE) },
    refusals: ["no-such-task", "no-such-run"],
  },
  "GET /modules": {
    summary: "Modules that the gateway has, newest first",
    query: z.object({ limit, cursor }),
    answer: { status: 200, description: "A page; `Link` has the next.", content: json(z.array(MODULE)) },
  },
  "PUT /modules": {
    summary: "Upload a module once, to be named by tasks",
    description: "It is kept for `--retain-modules` after it was last sent or named, and as long as a task uses it.",
    requestBody: { required: true, content: plain("application/wasm", "The module's bytes") },
    answer: {
      status: 201,
      description: "It was not there before; `Location` has its address.",
      content: json(MODULE),
    },
    otherAnswers: [{ status: 200, description: "It was there already.", content: json(MODULE) }],
    refusals: ["too-large", "too-slow", "unsupported-media-type", "module-rejected", "queue-full", "not-ready"],
  },
  "GET /modules/{sha256}": {
    summary: "What is known of a module",
    answer: { status: 200, description: "The module.", content: json(MODULE) },
    refusals: ["no-such-module"],
  },
  "GET /workers": {
    summary: "Workers, those that wait to be admitted too",
    answer: { status: 200, description: "All of them.", content: json(z.array(WORKER), [WORKER_EXAMPLE]) },
  },
  "GET /workers/{id}": {
    summary: "One worker",
    answer: { status: 200, description: "The worker.", content: json(WORKER, WORKER_EXAMPLE) },
    refusals: ["no-such-worker"],
  },
  "DELETE /workers/{id}": {
    summary: "End a worker's session and bar it",
    answer: { status: 204, description: "It is barred until it is admitted." },
    refusals: ["no-such-worker"],
  },
  "POST /workers/{id}/admit": {
    summary: "Let a worker join without the secret",
    answer: { status: 204, description: "It may join." },
    refusals: ["no-such-worker"],
  },
  "POST /workers/{id}/drain": {
    summary: "Have a worker finish what it has and take nothing more",
    query: z.object({
      grace: z
        .string()
        .optional()
        .meta({ description: "A duration; what is unfinished after it goes elsewhere.", examples: ["30s"] }),
    }),
    answer: { status: 204, description: "It takes no more runs." },
    refusals: ["no-such-worker"],
  },
  "GET /cluster": {
    summary: "Members, as gossip shows them",
    answer: { status: 200, description: "All that are seen.", content: json(z.array(MEMBER)) },
  },
  "GET /events": {
    summary: "Every change of a task, a run or a worker, live",
    answer: {
      status: 200,
      description: "Events; `Last-Event-ID` resumes. `reset`: some were missed, read everything anew.",
      content: { "text/event-stream": { schema: EVENT } },
    },
    refusals: ["too-many-streams"],
  },
  "GET /tokens": {
    summary: "Tokens, ended ones too for a while",
    answer: { status: 200, description: "All of them, oldest first.", content: json(z.array(TOKEN)) },
  },
  "POST /tokens": {
    summary: "Make a token that is no wider than one's own",
    requestBody: {
      required: true,
      content: json(tokenRequestSchema.meta({ id: "TokenRequest" }), { can: ["read"], for: "30d", label: "anna" }),
    },
    answer: { status: 201, description: "The token, with its text, this once.", content: json(MADE_TOKEN) },
    refusals: ["invalid-field", "invalid-request", "too-large", "unsupported-media-type", "too-many-tokens"],
  },
  "DELETE /tokens/{id}": {
    summary: "Revoke a token, and those that were made with it",
    answer: { status: 204, description: "It has ended, and all that is under way on it." },
    refusals: ["no-such-token"],
  },
  "POST /secret/rotate": {
    summary: "Make another join secret; workers that are in stay",
    query: z.object({
      grace: z
        .string()
        .optional()
        .meta({ description: "How long the old one is good for still, at most 24h.", examples: ["10m"] }),
    }),
    answer: { status: 200, description: "What workers dial from now on.", content: json(ROTATED_SECRET) },
    refusals: ["invalid-field", "secret-configured", "store-unavailable"],
  },
  "GET /audit": {
    summary: "Who got, narrowed, used and took back which authority, newest first",
    query: z.object({ limit, cursor }),
    answer: { status: 200, description: "A page; `Link` has the next.", content: json(z.array(AUDIT_ENTRY)) },
  },
};

const PARAMETERS: Readonly<Record<string, z.ZodType>> = {
  id: z.string().meta({ description: "A task's, a worker's or a token's.", examples: ["nightly-report"] }),
  n: z
    .int()
    .min(1)
    .meta({ description: "A run's index.", examples: [1] }),
  sha256: z.string().meta({ description: "SHA-256 of the module, 64 hex digits." }),
  path: z.string().meta({ description: "Of the file, as the guest wrote it.", examples: ["out/report.csv"] }),
};

/** Addresses of the page's own files: no part of the API. */
const UNDESCRIBED: ReadonlySet<string> = new Set(["/page.js", "/page.css"]);

/** The document, as JSON. */
export function openApiDocument(version: string): ReturnType<typeof createDocument> {
  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {};
  for (const endpoint of ENDPOINTS) {
    if (UNDESCRIBED.has(endpoint.path)) continue;
    const name = `${endpoint.method} ${endpoint.path}`;
    const operation = OPERATIONS[name];
    assert(operation !== undefined, `${name} is described`);
    const path = endpoint.path.replace("*}", "}");
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operationObject(endpoint, operation) };
  }
  const document: ZodOpenApiObject = {
    openapi: "3.1.0",
    info: {
      title: "Capmesh",
      version,
      description:
        "Runs WebAssembly programs on a cluster of machines you own. Times are RFC 3339 in UTC, durations seconds. A refusal is a problem document (RFC 9457) with a stable `code`.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: "/" }],
    components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
    paths,
  };
  return createDocument(document);
}

function operationObject(endpoint: Endpoint, operation: Operation): ZodOpenApiOperationObject {
  const { query, header, answer, otherAnswers = [], refusals = [], ...rest } = operation;
  const names = Array.from(endpoint.path.matchAll(/\{(\w+)\*?\}/g), ([, name = ""]) => name);
  const parameters = Object.fromEntries(
    names.flatMap((name) => {
      const schema = PARAMETERS[name];
      return schema === undefined ? [] : [[name, schema]];
    }),
  );
  return {
    operationId: operationId(endpoint),
    ...rest,
    tags: [endpoint.path.split("/")[1] || "dashboard"],
    security: endpoint.power === "none" ? [] : [{ token: [] }],
    requestParams: {
      ...(names.length > 0 && { path: z.object(parameters) }),
      ...(query !== undefined && { query }),
      ...(header !== undefined && { header }),
    },
    responses: {
      ...Object.fromEntries(
        [answer, ...otherAnswers].map(({ status, description, content }) => [
          status,
          { description, ...(content && { content }) },
        ]),
      ),
      ...refusalObjects(endpoint, [...refusals, ...(names.length > 0 || query !== undefined ? BAD_REQUEST : [])]),
    },
  };
}

/** One entry a status: codes that share one are named in it. */
function refusalObjects(endpoint: Endpoint, own: readonly ProblemCode[]): ZodOpenApiOperationObject["responses"] {
  // Where no token is asked for, who may ask is looked at all the same.
  const common: readonly ProblemCode[] =
    endpoint.power === "none"
      ? ["forbidden", "internal"]
      : ["unauthenticated", "forbidden", "internal", "store-unavailable"];
  const limits: readonly ProblemCode[] = endpoint.power === "submit" ? ["rate-limited"] : [];
  const byStatus = Map.groupBy(new Set([...own, ...limits, ...common]), (code) => PROBLEMS[code].status);
  return Object.fromEntries(
    Array.from(byStatus, ([status, codes]) => {
      const description = codes.map(codeWords).join(" ");
      const passes = codes.some((code) => code in PASSING_PROBLEMS);
      return [
        status,
        {
          description,
          ...(passes && { headers: RETRY_HEADER }),
          content: { [PROBLEM_MEDIA_TYPE]: { schema: PROBLEM } },
        },
      ];
    }),
  );
}

function codeWords(code: ProblemCode): string {
  const remedy = PASSING_PROBLEMS[code];
  return `\`${code}\`: ${PROBLEMS[code].title.toLowerCase()}.${remedy === undefined ? "" : ` ${remedy}`}`;
}

/** `getTasksLogs`: unique, and a good name for a generated client's method. */
function operationId({ method, path }: Endpoint): string {
  const words = path
    .split("/")
    .filter((part) => part !== "")
    .flatMap((part) => part.replaceAll(/[{}*]/g, "").split(/\W/));
  return [method.toLowerCase(), ...words.map((word) => word.charAt(0).toUpperCase() + word.slice(1))].join("");
}
