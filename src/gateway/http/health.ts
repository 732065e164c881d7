/** `/livez`: this process answers. `/readyz`: it takes work, and its store takes it too. */
import { Router } from "express";
import { openApiDocument } from "../../api/openapi.ts";
import { answeredByEtag, weakEtag } from "./etag.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";
import { storeRefusal } from "./taking-work.ts";

export function healthRouter({ readiness, storeHealth, version }: HttpContext): Router {
  const router = Router();
  router.get("/livez", (_request, response) => {
    response.json({ status: "ok", version });
  });
  // It never changes while the program runs.
  const document = JSON.stringify(openApiDocument(version));
  const etag = weakEtag(document);
  router.get("/openapi.json", (request, response) => {
    response.setHeader("cache-control", "no-cache");
    if (!answeredByEtag(request, response, etag)) response.type("application/json").send(document);
  });
  router.get("/readyz", async (_request, response) => {
    const reason = readiness.notReadyBecause();
    if (reason !== undefined) throw new Refusal("not-ready", `The gateway takes no work now: ${reason}.`);
    const trouble = await storeHealth.check();
    if (trouble !== undefined) throw storeRefusal(trouble);
    response.json({ status: "ok" });
  });
  return router;
}
