/** Writes what requests have done into the audit log, once they were answered: by whom, what, and to what. */
import type { RequestHandler, Response } from "express";
import { findEndpoint } from "../../api/endpoints.ts";
import type { AuditAction } from "../../model/audit.ts";
import type { AuditLog } from "../audit.ts";
import type { HttpContext } from "./http-context.ts";

const ACTIONS: Readonly<Record<string, AuditAction>> = {
  "POST /tasks": "task.submitted",
  "POST /tasks/batch": "task.submitted",
  "POST /tasks/{id}/cancel": "task.cancelled",
  "POST /tasks/{id}/retry": "task.retried",
  "DELETE /tasks/{id}": "task.deleted",
  "PUT /modules": "module.stored",
  "POST /workers/{id}/admit": "worker.admitted",
  "POST /workers/{id}/drain": "worker.drained",
  "DELETE /workers/{id}": "worker.barred",
};

export function audited({ grants }: HttpContext, audit: AuditLog): RequestHandler {
  return (request, response, next) => {
    const match = findEndpoint(request.method, request.path);
    const action = match.kind === "found" ? ACTIONS[`${request.method} ${match.endpoint.path}`] : undefined;
    if (action !== undefined) {
      const { path } = request;
      response.once("finish", () => {
        const actor = grants.get(request)?.actor ?? "nobody";
        if (response.statusCode < 300) audit.record({ actor, action, subject: subjectOf(path, response) });
      });
    }
    next();
  };
}

/** What was made, by its address; else what the request's own address names. */
function subjectOf(path: string, response: Response): string {
  const location = response.getHeader("location");
  const [, , id = ""] = (typeof location === "string" ? location : path).split("/");
  return decodeId(id);
}

function decodeId(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
