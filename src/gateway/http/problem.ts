/**
 * The border between errors inside and refusals outside. Everything that is thrown under the HTTP API becomes a problem
 * document here, and only here; what is not meant for strangers (stacks, paths, causes) goes to the log.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type FieldError,
  PROBLEM_MEDIA_TYPE,
  type ProblemCode,
  type ProblemJson,
  problemJson,
} from "../../api/problem.ts";
import { ClusterError } from "../../base/errors.ts";
import { REFUSED_BODY_BYTES_MAX, REFUSED_BODY_MS_MAX } from "../../base/limits.ts";
import type { Clock } from "../../base/clock.ts";
import { StoreFailure, UnreadableTask } from "../../store/trouble.ts";
import { troubleSentence } from "../store-trouble.ts";

/** How long a client that was told to come back should wait, in seconds. */
const RETRY_AFTER_SECONDS = 2;

/** Until somebody has revoked a token, or one has expired. */
const TOKENS_RETRY_AFTER_SECONDS = 3_600;

const STORE_CODES: ReadonlySet<string> = new Set(["store-unavailable", "store-closed", "store-busy"]);

/** The gateway itself cannot, for now, and says why. */
const NOT_READY_CODES: ReadonlySet<string> = new Set(["inspections-full", "inspector", "not-ready"]);

/** Of grants that have ended. */
const ENDED_CODES: ReadonlySet<string> = new Set(["revoked", "expired"]);

export interface RefusalOptions {
  readonly errors?: readonly FieldError[] | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/** A request that is refused. The detail is a sentence that says what to do. */
export class Refusal extends ClusterError {
  readonly problem: ProblemCode;
  readonly detail: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(problem: ProblemCode, detail: string, options: RefusalOptions = {}) {
    super("failed", detail, { code: problem });
    this.problem = problem;
    this.detail = detail;
    this.errors = options.errors;
    this.headers = options.headers ?? {};
  }
}

/** The request ended before its body did: there is nobody to answer. */
export class ClientGone extends ClusterError {
  constructor() {
    super("disconnected", "the client closed the connection before its request was complete", { code: "client-gone" });
  }
}

/** A refusal of fields, with all their errors in one sentence for those who read only that. */
export function invalidFields(errors: readonly FieldError[]): Refusal {
  const detail = errors.map(({ field, message }) => `${field} ${message}`).join("; ");
  return new Refusal("invalid-field", detail, { errors });
}

export function noSuchTask(id: string): Refusal {
  return new Refusal("no-such-task", `There is no task ${JSON.stringify(id.slice(0, 128))}: see GET /tasks.`);
}

/** What to answer for anything that was thrown; `isUnexpected` asks for a line in the log. */
export function toRefusal(thrown: unknown): { readonly refusal: Refusal; readonly isUnexpected: boolean } {
  if (thrown instanceof Refusal) return { refusal: thrown, isUnexpected: false };
  const headers = { "retry-after": String(RETRY_AFTER_SECONDS) };
  if (thrown instanceof ClusterError) {
    if (thrown.code === "queue-full" || thrown.code === "rate-limited") {
      const seconds = Math.ceil((thrown.retryAfterMs ?? 1_000) / 1_000);
      const later = new Refusal(thrown.code, `${capitalised(thrown.message)}.`, {
        headers: { "retry-after": String(seconds) },
      });
      return { refusal: later, isUnexpected: false };
    }
    if (ENDED_CODES.has(thrown.code)) {
      return { refusal: new Refusal("unauthenticated", `${capitalised(thrown.message)}.`), isUnexpected: false };
    }
    if (thrown.code === "too-large") {
      return { refusal: new Refusal("too-large", `${capitalised(thrown.message)}.`), isUnexpected: false };
    }
    if (thrown.code === "forbidden") {
      return { refusal: new Refusal("forbidden", `${capitalised(thrown.message)}.`), isUnexpected: false };
    }
    if (thrown.code === "invalid-cursor") {
      const errors = [{ field: "cursor", message: "is not what a page before gave: begin without it" }];
      return { refusal: invalidFields(errors), isUnexpected: false };
    }
    if (thrown.code === "too-many-tokens") {
      const later = { "retry-after": String(TOKENS_RETRY_AFTER_SECONDS) };
      return {
        refusal: new Refusal(thrown.code, `${capitalised(thrown.message)}.`, { headers: later }),
        isUnexpected: false,
      };
    }
    if (NOT_READY_CODES.has(thrown.code)) {
      const detail = `${capitalised(thrown.message)}: send this again in a moment.`;
      return { refusal: new Refusal("not-ready", detail, { headers }), isUnexpected: false };
    }
    if (thrown instanceof UnreadableTask) {
      const detail =
        `The task ${JSON.stringify(thrown.task)} cannot be read: ${troubleSentence(thrown.trouble)}. ` +
        `The tasks behind it are in GET /tasks?cursor=${thrown.cursor}, as the Link header says.`;
      return { refusal: new Refusal("store-unavailable", detail, { headers }), isUnexpected: true };
    }
    if (thrown instanceof StoreFailure) {
      const detail = `The store cannot do this now: ${troubleSentence(thrown.trouble)}. Send this again later.`;
      return { refusal: new Refusal("store-unavailable", detail, { headers }), isUnexpected: true };
    }
    if (STORE_CODES.has(thrown.code) || thrown.type === "overloaded" || thrown.type === "disconnected") {
      const detail = "The store cannot be reached or has too much to do: send this again in a moment.";
      return { refusal: new Refusal("store-unavailable", detail, { headers }), isUnexpected: true };
    }
  }
  if (isBadPath(thrown)) {
    return {
      refusal: new Refusal("invalid-request", "The address has a % that encodes nothing."),
      isUnexpected: false,
    };
  }
  const detail = "Something went wrong in the gateway; its log says what, under this request id.";
  return { refusal: new Refusal("internal", detail), isUnexpected: true };
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The router's error for a path that cannot be decoded. */
function isBadPath(thrown: unknown): boolean {
  return thrown instanceof Error && "status" in thrown && thrown.status === 400;
}

export interface AnswerOptions {
  readonly clock: Clock;
  readonly requestId: string;
  /** The client waits for leave to send its body, and has not been given it. */
  readonly isBodyHeldBack: boolean;
}

/**
 * Sends the problem document. The rest of a body that is still coming is read and dropped up to a limit, since many
 * clients read an answer only when they have written all; the answer itself goes out before that.
 */
export function sendRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  refusal: Refusal,
  { clock, requestId, isBodyHeldBack }: AnswerOptions,
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = encodeProblem(problemJson(refusal.problem, refusal.detail, { errors: refusal.errors, requestId }));
  response.statusCode = body.status;
  for (const [name, value] of Object.entries(refusal.headers)) response.setHeader(name, value);
  response.setHeader("content-type", PROBLEM_MEDIA_TYPE);
  response.setHeader("content-length", body.bytes.length);
  const isBodyComing = hasBody(request) && !request.complete;
  if (isBodyComing) response.setHeader("connection", "close");
  if (!isBodyComing || isBodyHeldBack || request.destroyed) {
    response.end(request.method === "HEAD" ? undefined : body.bytes);
    return;
  }
  response.write(body.bytes);
  dropBody(request, { clock, bytesMax: REFUSED_BODY_BYTES_MAX }, () => response.end());
}

/** Whether the request's head announces a body. */
export function hasBody(request: IncomingMessage): boolean {
  const length = request.headers["content-length"];
  return request.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

export function encodeProblem(problem: ProblemJson): { readonly status: number; readonly bytes: Buffer } {
  return { status: problem.status, bytes: Buffer.from(`${JSON.stringify(problem)}\n`) };
}

export interface DropBodyOptions {
  readonly clock: Clock;
  readonly bytesMax: number;
}

/** Calls `done` once: when the body ends, the client goes, or a limit is passed. */
export function dropBody(request: IncomingMessage, { clock, bytesMax }: DropBodyOptions, done: () => void): void {
  let dropped = 0;
  const finish = (): void => {
    timer[Symbol.dispose]();
    request.off("data", onData).off("end", finish).off("close", finish);
    done();
  };
  const onData = (chunk: Buffer): void => {
    dropped += chunk.length;
    if (dropped > bytesMax) {
      request.pause();
      finish();
    }
  };
  const timer = clock.setTimer(REFUSED_BODY_MS_MAX, finish);
  request.on("data", onData).on("end", finish).on("close", finish);
  request.resume();
}
