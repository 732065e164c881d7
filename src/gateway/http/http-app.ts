/** The API as one request listener: what every request passes, the resources, and the refusals at the end. */
import express, { type ErrorRequestHandler, type Express, type RequestHandler, type Router } from "express";
import type { IncomingMessage } from "node:http";
import { messageOf } from "../../base/errors.ts";
import { StoreFailure } from "../../store/trouble.ts";
import { access, type AccessInit, notFound } from "./access.ts";
import { compressed } from "./compressed.ts";
import type { EventHistory } from "./event-history.ts";
import { eventsRouter } from "./event-stream.ts";
import { filesRouter } from "./files.ts";
import { healthRouter } from "./health.ts";
import type { HttpContext } from "./http-context.ts";
import { logsRouter } from "./logs.ts";
import type { HttpMetrics } from "./metrics/http-metrics.ts";
import { modulesRouter } from "./modules.ts";
import { ClientGone, Refusal, sendRefusal, toRefusal } from "./problem.ts";
import { secretRouter } from "./secret.ts";
import { runsRouter } from "./runs.ts";
import { tasksRouter } from "./tasks.ts";
import { tokensRouter } from "./tokens.ts";
import { traced } from "./traced.ts";
import { workersRouter } from "./workers.ts";

export interface HttpAppInit {
  readonly context: HttpContext;
  readonly access: AccessInit;
  readonly history: EventHistory;
  readonly metrics: HttpMetrics;
  readonly page: Router;
}

const SECURITY_HEADERS = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cache-control": "no-store",
} as const;

const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

export function httpApp(init: HttpAppInit): Express {
  const { context, metrics } = init;
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  // Read by `Query`.
  app.set("query parser", false);
  app.use(metrics.observe(context));
  app.use(requestHead(context));
  app.use(traced(context));
  app.use(access(init.access));
  app.use(compressed());
  app.use(init.page);
  app.use(healthRouter(context));
  app.use(metrics.router());
  app.use(tasksRouter(context));
  app.use(runsRouter(context));
  app.use(filesRouter(context));
  app.use(logsRouter(context));
  app.use(modulesRouter(context));
  app.use(workersRouter(context));
  app.use(tokensRouter(context));
  app.use(secretRouter(context));
  app.use(eventsRouter(context, init.history));
  app.use(() => {
    throw notFound();
  });
  app.use(answerError(context));
  return app;
}

/**
 * The caller's request id if it can be used, else one of ours: it is in the answer, in a refusal's document, and in what
 * the log says of the request, which at level `debug` is that there was one.
 */
function requestHead({ newId, clock, log, grants }: HttpContext): RequestHandler {
  return (request, response, next) => {
    const given = request.headers["x-request-id"];
    const requestId = typeof given === "string" && REQUEST_ID.test(given) ? given : newId();
    response.setHeader("x-request-id", requestId);
    const startedMs = clock.monotonicMs();
    const { method, path } = request;
    response.on("close", () => {
      const ms = Math.round(clock.monotonicMs() - startedMs);
      const by = grants.get(request)?.actor;
      const status = response.statusCode;
      log.debug("answered a request", { requestId, method, path, status, ms, by, isCut: !response.writableFinished });
    });
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    requireSound(request);
    next();
  };
}

/** What HTTP/1.1 demands of every request, and nobody behind looks at. */
function requireSound({ headers, httpVersion }: IncomingMessage): void {
  if (headers.host === undefined && httpVersion === "1.1") {
    throw new Refusal("invalid-request", "The request has no Host header: HTTP/1.1 wants one.");
  }
  const { expect } = headers;
  if (expect !== undefined && !/100-continue/i.test(expect)) {
    const expected = JSON.stringify(expect.slice(0, 64));
    throw new Refusal("expectation-failed", `Nothing here does ${expected}: leave Expect out, or expect 100-continue.`);
  }
}

function answerError({ clock, log, heldBack, storeHealth }: HttpContext): ErrorRequestHandler {
  // Express tells an error handler by its four parameters.
  return (thrown: unknown, request, response, _next) => {
    if (thrown instanceof ClientGone || response.destroyed || request.socket.destroyed) {
      const requestId = String(response.getHeader("x-request-id"));
      const { method, path } = request;
      log.debug("a client went away", { requestId, method, path, reason: messageOf(thrown) });
      response.destroy();
      return;
    }
    const requestId = String(response.getHeader("x-request-id"));
    const { refusal, isUnexpected } = toRefusal(thrown);
    if (thrown instanceof StoreFailure) storeHealth.noteFailure(thrown);
    if (isUnexpected) {
      log.error("a request failed", { requestId, method: request.method, path: request.path, error: thrown });
    }
    sendRefusal(request, response, refusal, { clock, requestId, isBodyHeldBack: heldBack.has(request) });
  };
}
