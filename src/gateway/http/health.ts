/** `/livez`: this process answers. `/readyz`: it takes work, and its store answers. */
import { Router } from "express";
import { openApiDocument } from "../../api/openapi.ts";
import { messageOf } from "../../base/errors.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";

export function healthRouter({ readiness, store, log, version }: HttpContext): Router {
  const router = Router();
  router.get("/livez", (_request, response) => {
    response.json({ status: "ok", version });
  });
  // It never changes while the program runs.
  const document = JSON.stringify(openApiDocument(version));
  router.get("/openapi.json", (_request, response) => {
    response.type("application/json").send(document);
  });
  router.get("/readyz", async (_request, response) => {
    const reason = readiness.notReadyBecause();
    if (reason !== undefined) throw new Refusal("not-ready", `The gateway takes no work now: ${reason}.`);
    try {
      await store.countUnfinishedTasks();
    } catch (error) {
      log.warn("the store does not answer", { error: messageOf(error) });
      throw new Refusal("store-unavailable", "The store does not answer: see the gateway's log.");
    }
    response.json({ status: "ok" });
  });
  return router;
}
