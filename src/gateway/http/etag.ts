/**
 * Entity tags: who has an answer already and asks whether it still holds is told so, without the body.
 *
 * Tags of what may be sent compressed are weak, as the bytes differ; those of files, which never are, are strong.
 */
import type { Request, Response } from "express";
import { createHash } from "node:crypto";

/** Of content that is the same when its bytes are, whatever they are wrapped in. */
export function weakEtag(content: string | Uint8Array): string {
  return `W/"${createHash("sha256").update(content).digest("base64url").slice(0, 27)}"`;
}

/**
 * Names what is to be answered. True: whoever asks has it, and has been told so; nothing else is to be sent. Headers that
 * belong to the answer are set before.
 */
export function answeredByEtag(request: Request, response: Response, etag: string): boolean {
  response.setHeader("etag", etag);
  if (!matches(request.headers["if-none-match"], etag)) return false;
  response.status(304).end();
  return true;
}

/** JSON with a tag, for what is asked for again and again. */
export function sendTagged(request: Request, response: Response, value: unknown): void {
  const body = JSON.stringify(value);
  if (!answeredByEtag(request, response, weakEtag(body))) response.type("application/json").send(body);
}

/** Weakly compared, as RFC 9110 has it for this header. */
function matches(header: string | undefined, etag: string): boolean {
  const opaque = etag.replace(/^W\//, "");
  return header?.split(",").some((each) => ["*", opaque, `W/${opaque}`].includes(each.trim())) ?? false;
}
