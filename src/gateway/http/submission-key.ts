/** `Idempotency-Key`: what makes a submission known again, so that it can be sent twice and is made once. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { FormTexts } from "../../api/form-fields.ts";
import { shown } from "../../api/form-fields.ts";
import { SUBMISSION_KEY_EXPECTED, SUBMISSION_KEY_HEADER, parseSubmissionKey } from "../../api/submission-key.ts";
import type { Digest } from "../../base/ids.ts";
import { Refusal, invalidFields } from "./problem.ts";

/** The request's key, if it has one. Throws a Refusal where it cannot be one. */
export function submissionKeyOf(request: IncomingMessage): string | undefined {
  // Joined with a comma, as headers are that come several times, they would be another key.
  const [text, ...others] = request.headersDistinct["idempotency-key"] ?? [];
  if (others.length > 0) throw refusedKey(`is given ${others.length + 1} times: give it once`);
  return text === undefined ? undefined : requireSubmissionKey(text);
}

/** Throws a Refusal where the text cannot be a key. */
export function requireSubmissionKey(text: string): string {
  const key = parseSubmissionKey(text);
  if (key === undefined) throw refusedKey(`is ${shown(text)}, and ${SUBMISSION_KEY_EXPECTED}`);
  return key;
}

function refusedKey(message: string): Refusal {
  return invalidFields([{ field: SUBMISSION_KEY_HEADER, message }]);
}

/** A file of a form. */
export interface FileMark {
  readonly field: string;
  readonly name: string;
  readonly digest: string;
}

/** Of all fields and files. Fields may come in any order; the values of one may not. */
export function formFingerprint(texts: FormTexts, files: readonly FileMark[]): string {
  const fields = Array.from(texts).sort(([one], [other]) => (one < other ? -1 : 1));
  return fingerprint(["form", fields, files.map(({ field, name, digest }) => [field, name, digest])]);
}

/** Of a batch, byte for byte. */
export function batchFingerprint(digest: Digest): string {
  return fingerprint(["batch", digest]);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function fingerprint(content: unknown): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

export function keyMismatch(): Refusal {
  return new Refusal(
    "idempotency-mismatch",
    "This Idempotency-Key came before with another request: send that one again as it was, or take a new key.",
  );
}
