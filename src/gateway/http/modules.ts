/** `/modules/{sha256}`: what is known of a module that tasks use. */
import { Router } from "express";
import { moduleJson } from "../../api/module-json.ts";
import { parseDigest } from "../../base/ids.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";

export function modulesRouter({ store, blobs }: HttpContext): Router {
  const router = Router();
  router.get("/modules/:digest", async (request, response) => {
    const text = request.params.digest;
    const digest = parseDigest(text.toLowerCase());
    const found = digest === undefined ? undefined : await store.getModule(digest);
    // The store remembers a module longer than its bytes are kept.
    await using blob = found === undefined ? undefined : await blobs.open(found.digest);
    if (found === undefined || blob === undefined) {
      const name = JSON.stringify(text.slice(0, 64));
      throw new Refusal("no-such-module", `There is no module ${name}: name one by its SHA-256, in 64 hex digits.`);
    }
    response.json(moduleJson(found));
  });
  return router;
}
