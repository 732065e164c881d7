/**
 * Writes what a request has done into the audit log: by whom, what, and to what. It is done where the service says that it
 * was done, before anything is answered: whoever asked may have gone by then.
 */
import type { Request } from "express";
import type { AuditAction } from "../../model/audit.ts";
import type { HttpContext } from "./http-context.ts";

export function recordDone(
  { audit, grants }: Pick<HttpContext, "audit" | "grants">,
  request: Request,
  action: AuditAction,
  subject: string,
): void {
  audit.record({ actor: grants.get(request)?.actor ?? "nobody", action, subject });
}
