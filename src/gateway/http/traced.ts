/** A span for each request that may change something; what it does is part of it. Reading is not traced: it is too much. */
import type { RequestHandler } from "express";
import { findEndpoint } from "../../api/endpoints.ts";
import { parseTraceparent } from "../../base/tracing.ts";
import type { HttpContext } from "./http-context.ts";

export function traced({ tracer, spans }: HttpContext): RequestHandler {
  return (request, response, next) => {
    const match =
      request.method === "GET" || request.method === "HEAD" ? undefined : route(request.method, request.path);
    if (match === undefined) {
      next();
      return;
    }
    const given = request.headers["traceparent"];
    const span = tracer.start(`${request.method} ${match}`, {
      kind: "server",
      parent: parseTraceparent(typeof given === "string" ? given : undefined),
      attributes: {
        "http.request.method": request.method,
        "http.route": match,
        "url.path": request.path,
        "capmesh.request.id": String(response.getHeader("x-request-id")),
      },
    });
    spans.set(request, span);
    response.on("close", () => {
      const { statusCode: status, writableFinished } = response;
      span.set({ "http.response.status_code": status });
      if (status >= 500 || !writableFinished) span.fail(writableFinished ? `status ${status}` : "cut off");
      span.end();
    });
    next();
  };
}

/** Undefined: there is nothing at the address. */
function route(method: string, path: string): string | undefined {
  const match = findEndpoint(method, path);
  return match.kind === "found" ? match.endpoint.path : undefined;
}
