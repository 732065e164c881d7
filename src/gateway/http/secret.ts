/** `/secret/rotate`: another join secret, for `admin`. The answer has it, and nothing else ever shows it over HTTP. */
import { Router } from "express";
import type { RotatedSecretJson } from "../../api/secret-json.ts";
import { formatTime } from "../../api/time.ts";
import { toClusterError } from "../../base/errors.ts";
import { SECRET_GRACE_MS_MAX } from "../../base/limits.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, invalidFields } from "./problem.ts";
import { Query } from "./query.ts";

export function secretRouter({ joinSecret, audit, grants }: HttpContext): Router {
  const router = Router();
  router.post("/secret/rotate", async (request, response) => {
    const graceMs = new Query(request).durationMs("grace") ?? 0;
    if (graceMs > SECRET_GRACE_MS_MAX) {
      const hours = SECRET_GRACE_MS_MAX / 3_600_000;
      throw invalidFields([{ field: "grace", message: `is longer than ${hours}h, which is the most` }]);
    }
    const { dial, previousUntil } = await joinSecret.rotate({ graceMs }).catch((thrown: unknown) => {
      const error = toClusterError(thrown);
      if (error.code !== "secret-configured") throw thrown;
      throw new Refusal("secret-configured", `${error.message}.`);
    });
    const detail = graceMs === 0 ? "the old one is refused" : `the old one is good for ${graceMs / 1_000} s more`;
    audit.record({
      actor: grants.get(request)?.actor ?? "nobody",
      action: "secret.rotated",
      subject: "join-secret",
      detail,
    });
    const answer: RotatedSecretJson = {
      dial,
      previousUntil: previousUntil === undefined ? null : formatTime(previousUntil),
    };
    response.json(answer);
  });
  return router;
}
