/** `/tokens`: make, list, revoke; `/audit`: who did what by which authority. All of it is for `admin`. */
import { type Request, Router } from "express";
import { parseDuration } from "../../api/duration.ts";
import { ROUTES } from "../../api/routes.ts";
import { auditEntryJson, tokenJson, tokenRequestSchema } from "../../api/token-json.ts";
import { assert } from "../../base/errors.ts";
import { DURATION_MS_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, TOKEN_REQUEST_BYTES_MAX } from "../../base/limits.ts";
import { parseTokenId } from "../../model/token.ts";
import type { Grant } from "../grant.ts";
import type { MintInit } from "../tokens.ts";
import { readBody } from "./body.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, invalidFields } from "./problem.ts";
import { Query, nextPageLink } from "./query.ts";

export function tokensRouter(context: HttpContext): Router {
  const { tokens, audit, clock } = context;
  const router = Router();
  router.get("/tokens", (_request, response) => {
    const now = clock.now();
    response.json(tokens.list().map((token) => tokenJson(token, now)));
  });
  router.post("/tokens", async (request, response) => {
    checkHead(request);
    if (context.heldBack.delete(request)) response.writeContinue();
    const wanted = parseRequest(await readBody(request, { bytesMax: TOKEN_REQUEST_BYTES_MAX, tooLarge }));
    const made = await tokens.mint(grantOf(context, request), wanted);
    if (made.kind === "too-wide") {
      const beyond = made.excess.map(({ field, message }) => `${field} ${message}`).join("; ");
      throw new Refusal("forbidden", `A token makes only narrower ones: ${beyond}.`, { errors: made.excess });
    }
    const { token, text } = made;
    response
      .status(201)
      .location(ROUTES.token(token.id))
      .json({ ...tokenJson(token, clock.now()), token: text });
  });
  router.delete("/tokens/:id", async (request, response) => {
    const text = String(request.params["id"] ?? "");
    const id = parseTokenId(text);
    if (id === undefined || !(await tokens.revoke(grantOf(context, request), id))) {
      throw new Refusal("no-such-token", `There is no token ${JSON.stringify(text.slice(0, 128))}: see GET /tokens.`);
    }
    response.status(204).end();
  });
  router.get("/audit", async (request, response) => {
    const query = new Query(request);
    const limit = query.integer("limit", { min: 1, max: LIST_LIMIT_MAX }) ?? LIST_LIMIT_DEFAULT;
    const belowSeq = query.integer("cursor", { min: 1, max: Number.MAX_SAFE_INTEGER });
    const entries = await audit.list({ limit, belowSeq });
    const last = entries.at(-1);
    if (entries.length === limit && last !== undefined) {
      response.setHeader("link", nextPageLink(request, String(last.seq)));
    }
    response.json(entries.map(auditEntryJson));
  });
  return router;
}

function grantOf({ grants }: HttpContext, request: Request): Grant {
  const grant = grants.get(request);
  assert(grant !== undefined, "only requests that passed come here");
  return grant;
}

/** What can be said before the body is read. */
function checkHead({ headers }: Request): void {
  const type = headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  const encoding = headers["content-encoding"] ?? "identity";
  if (type !== "application/json" || encoding !== "identity") {
    throw new Refusal(
      "unsupported-media-type",
      'Send a JSON object, as in {"can": ["read"], "for": "30d"}, as it is.',
      {
        headers: { accept: "application/json", "accept-encoding": "identity" },
      },
    );
  }
  if (Number(headers["content-length"] ?? 0) > TOKEN_REQUEST_BYTES_MAX) throw tooLarge();
}

function tooLarge(): Refusal {
  return new Refusal("too-large", `A request for a token has at most ${TOKEN_REQUEST_BYTES_MAX} bytes.`);
}

function parseRequest(bytes: Buffer): MintInit {
  const body = parseJson(bytes);
  const parsed = tokenRequestSchema.safeParse(body);
  if (!parsed.success) {
    throw invalidFields(parsed.error.issues.map(({ path, message }) => ({ field: path.join(".") || "body", message })));
  }
  const { can, label, limits, for: time } = parsed.data;
  const lifetimeMs = time === undefined ? undefined : parseDuration(String(time));
  if (time !== undefined && (lifetimeMs === undefined || lifetimeMs <= 0 || lifetimeMs > DURATION_MS_MAX)) {
    const message = `is ${JSON.stringify(String(time).slice(0, 40))}, and seconds, or a duration like 12h or 30d (at most 366d), is expected`;
    throw invalidFields([{ field: "for", message }]);
  }
  return { can, label, limits, lifetimeMs };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal("invalid-request", 'The body is no JSON: send an object, as in {"can": ["read"], "for": "30d"}.');
  }
}
