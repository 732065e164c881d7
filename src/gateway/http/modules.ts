/**
 * `/modules`: upload, list, show. What is uploaded here is held for a while even if no task uses it (`retention.ts`), so
 * that tasks can name it; submissions pin what they name, so that it is either there or refused.
 */
import { type Request, type RequestHandler, type Response, Router } from "express";
import { moduleJson } from "../../api/module-json.ts";
import { ROUTES } from "../../api/routes.ts";
import { assert } from "../../base/errors.ts";
import { parseDigest } from "../../base/ids.ts";
import { HELD_MODULES_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, UPLOAD_IDLE_MS_MAX } from "../../base/limits.ts";
import type { BlobWriter } from "../../store/blobs.ts";
import type { HoldModuleResult } from "../../store/module-store.ts";
import { tooLarge } from "./form-upload.ts";
import type { Grant } from "../grant.ts";
import { recordDone } from "./audited.ts";
import { BodyPace } from "./body-pace.ts";
import type { HttpContext } from "./http-context.ts";
import { ClientGone, Refusal } from "./problem.ts";
import { Query, nextPageLink } from "./query.ts";
import { checkUpload, inspectUpload } from "./submit.ts";
import { requireTakingWork } from "./taking-work.ts";

export function modulesRouter(context: HttpContext): Router {
  const { store, blobs } = context;
  const router = Router();
  router.put("/modules", putModule(context));
  router.get("/modules", async (request, response) => {
    const query = new Query(request);
    const limit = query.integer("limit", { min: 1, max: LIST_LIMIT_MAX }) ?? LIST_LIMIT_DEFAULT;
    const page = await store.listModules({ limit, cursor: query.text("cursor") });
    if (page.cursor !== undefined) response.setHeader("link", nextPageLink(request, page.cursor));
    response.json(page.modules.map(moduleJson));
  });
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

function putModule(context: HttpContext): RequestHandler {
  return async (request: Request, response: Response) => {
    const grant = context.grants.get(request);
    assert(grant !== undefined, "only requests that passed come here");
    checkHead(request, context);
    grant.beginSubmit();
    using _slot = context.uploadSlots.take(grant);
    const gone = new AbortController();
    response.on("close", () => gone.abort(new ClientGone()));
    if (context.heldBack.delete(request)) response.writeContinue();
    await using writer = await context.blobs.create();
    await receive(request, writer, { ...context, grant });
    const { module, isNew } = await hold(context, grant, writer, gone.signal);
    recordDone(context, request, "module.stored", module.digest);
    response
      .status(isNew ? 201 : 200)
      .location(ROUTES.module(module.digest))
      .json(moduleJson(module));
  };
}

/** What can be said before the body is read. Its type says nothing: curl calls any body a form. */
function checkHead(request: Request, context: HttpContext): void {
  requireTakingWork(context);
  if (/^multipart\//i.test(request.headers["content-type"] ?? "")) {
    throw new Refusal(
      "unsupported-media-type",
      "The module came as a form: send its bytes alone, as in curl -T task.wasm, or submit a task by POST /tasks.",
      { headers: { accept: "application/wasm, application/octet-stream" } },
    );
  }
  if (Number(request.headers["content-length"] ?? 0) > context.moduleBytesMax) throw tooLarge(context);
}

/** Writes the body as it comes, one piece at a time. The request is left as it is, so that it can be answered. */
async function receive(
  request: Request,
  writer: BlobWriter,
  { moduleBytesMax, clock, grant }: Pick<HttpContext, "moduleBytesMax" | "clock"> & { readonly grant: Grant },
): Promise<void> {
  const onIdle = (): void => void request.destroy();
  request.setTimeout(UPLOAD_IDLE_MS_MAX, onIdle);
  let bytes = 0;
  const pace = new BodyPace(clock);
  try {
    const pieces: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
    for await (const piece of pieces) {
      bytes += piece.length;
      const tooSlow = pace.refuse(piece.length);
      if (tooSlow !== undefined) throw tooSlow;
      grant.spendBytes(piece.length);
      if (bytes > moduleBytesMax) throw tooLarge({ moduleBytesMax });
      await writer.write(piece);
    }
  } catch (thrown) {
    throw request.destroyed && !request.complete ? new ClientGone() : thrown;
  } finally {
    request.setTimeout(0);
    request.off("timeout", onIdle);
  }
}

/** Inspects the module, and makes its bytes durable. Rejects with a Refusal, or as the stores do. */
async function hold(
  context: HttpContext,
  grant: Grant,
  writer: BlobWriter,
  signal: AbortSignal,
): Promise<Extract<HoldModuleResult, { readonly kind: "held" }>> {
  const { store, pins, clock } = context;
  const upload = await writer.finish();
  const inspection = await inspectUpload(context, upload, { signal });
  checkUpload(inspection);
  // It may have ended while the module came in.
  grant.require("submit");
  const pin = await pins.pin(upload.digest);
  let isHeld = false;
  try {
    await writer.commit();
    const result = await store.holdModule(upload.digest, inspection, clock.now());
    if (result.kind === "too-many") throw tooManyHeld();
    isHeld = true;
    return result;
  } finally {
    pin[Symbol.dispose]();
    if (!isHeld) await pins.retireUnused(upload.digest);
  }
}

function tooManyHeld(): Refusal {
  return new Refusal(
    "queue-full",
    `The gateway holds ${HELD_MODULES_MAX} modules that came by themselves: send this one with its task, or wait until some have gone (--retain-modules).`,
    { headers: { "retry-after": "3600" } },
  );
}
