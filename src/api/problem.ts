/**
 * Refusals as RFC 9457 problem details. `code` is stable and for programs; `detail` is a sentence for people that says
 * what to do. The table is the only place that pairs a code with its status.
 */
import { z } from "zod";

export const PROBLEM_MEDIA_TYPE = "application/problem+json";

/** Every code that the API may answer with, its status and its title. */
export const PROBLEMS = {
  "invalid-field": { status: 400, title: "A field is not valid" },
  "invalid-form": { status: 400, title: "The form cannot be read" },
  "invalid-request": { status: 400, title: "The request cannot be read" },
  unauthenticated: { status: 401, title: "A token is needed" },
  forbidden: { status: 403, title: "Not allowed" },
  "not-found": { status: 404, title: "There is nothing here" },
  "no-such-task": { status: 404, title: "There is no such task" },
  "no-such-run": { status: 404, title: "There is no such run" },
  "no-such-file": { status: 404, title: "There is no such file" },
  "no-such-module": { status: 404, title: "There is no such module" },
  "no-such-worker": { status: 404, title: "There is no such worker" },
  "no-such-token": { status: 404, title: "There is no such token" },
  "method-not-allowed": { status: 405, title: "The method does not fit the address" },
  "too-slow": { status: 408, title: "The request came in too slowly" },
  "id-taken": { status: 409, title: "The id is taken" },
  "idempotency-mismatch": { status: 409, title: "The key was used for another request" },
  "not-finished": { status: 409, title: "The task has not finished" },
  "nothing-to-retry": { status: 409, title: "All runs have succeeded" },
  "dependency-failed": { status: 409, title: "A task that this one runs after has not succeeded" },
  "secret-configured": { status: 409, title: "The join secret is given by the settings" },
  "already-finished": { status: 409, title: "The task has finished" },
  "too-large": { status: 413, title: "Too large" },
  "range-not-satisfiable": { status: 416, title: "None of these bytes are there" },
  "unsupported-media-type": { status: 415, title: "The body is of the wrong type" },
  "expectation-failed": { status: 417, title: "What is expected is not done here" },
  "head-too-large": { status: 431, title: "The headers are too large" },
  "module-rejected": { status: 422, title: "The module cannot run here" },
  "queue-full": { status: 429, title: "The queue is full" },
  "rate-limited": { status: 429, title: "The token's limit is reached" },
  "too-many-tokens": { status: 429, title: "As many tokens are kept as there may be" },
  internal: { status: 500, title: "The gateway failed" },
  "store-unavailable": { status: 503, title: "The store is not available" },
  "not-ready": { status: 503, title: "The gateway takes no work now" },
  "too-many-streams": { status: 503, title: "Too many live streams are open" },
} as const satisfies Record<string, { readonly status: number; readonly title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** What to do about those that pass by themselves. `Retry-After` says in how many seconds to ask again. */
export const PASSING_PROBLEMS: Partial<Readonly<Record<ProblemCode, string>>> = {
  "queue-full": "Send it again after `Retry-After`.",
  "rate-limited": "Send it again after `Retry-After`.",
  "store-unavailable": "Send it again after `Retry-After`.",
  "not-ready":
    "It drains, or has its hands full with requests: send it again after `Retry-After`, or to another gateway.",
  "too-many-tokens": "Revoke one that is not needed, or ask again after `Retry-After`.",
  "too-many-streams": "Open it again after `Retry-After`.",
};

export const fieldErrorSchema = z.object({
  field: z.string(),
  message: z.string(),
  /** Of a batch: the line that it is about, from 1. */
  line: z.number().optional(),
  /** Of a batch: the place of its task among the batch's, from 0. Empty lines do not count. */
  index: z.number().optional(),
  /** Of a batch: the id of its task, where that has one that can be read. */
  id: z.string().optional(),
});

/** What is wrong with one field, as a sentence that says what to do. */
export type FieldError = Readonly<z.infer<typeof fieldErrorSchema>>;

/** `code` is any text here: a client may meet a gateway that is newer than it. */
export const problemSchema = z.object({
  type: z.string().default("about:blank"),
  title: z.string(),
  status: z.number(),
  code: z.string(),
  detail: z.string().default(""),
  errors: z.array(fieldErrorSchema).optional(),
  requestId: z.string().optional(),
});

export type ProblemJson = z.infer<typeof problemSchema>;

export interface ProblemOptions {
  readonly errors?: readonly FieldError[] | undefined;
  readonly requestId?: string | undefined;
}

/** The document for a code. */
export function problemJson(code: ProblemCode, detail: string, options: ProblemOptions = {}): ProblemJson {
  const { status, title } = PROBLEMS[code];
  return {
    type: "about:blank",
    title,
    status,
    code,
    detail,
    ...(options.errors === undefined ? {} : { errors: [...options.errors] }),
    ...(options.requestId === undefined ? {} : { requestId: options.requestId }),
  };
}
