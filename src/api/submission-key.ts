/** `Idempotency-Key`: by what a submission is known again. */
import { SUBMISSION_KEY_LENGTH_MAX } from "../base/limits.ts";

/** The header. */
export const SUBMISSION_KEY_HEADER = "Idempotency-Key";

/** Printable ASCII. Quotes are characters like others: a text with them and the same one without are two keys. */
export const SUBMISSION_KEY_PATTERN = /^[!-~](?:[ -~]*[!-~])?$/;

/** The key that a text is, without white space around it; undefined where it is none. */
export function parseSubmissionKey(text: string): string | undefined {
  const key = text.trim();
  return key.length <= SUBMISSION_KEY_LENGTH_MAX && SUBMISSION_KEY_PATTERN.test(key) ? key : undefined;
}

/** To go behind the text that is no key. */
export const SUBMISSION_KEY_EXPECTED = `1 to ${SUBMISSION_KEY_LENGTH_MAX} printable ASCII characters are expected, a UUID say`;
