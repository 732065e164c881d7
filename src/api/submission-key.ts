/** `Idempotency-Key`: by what a submission is known again. */
import { SUBMISSION_KEY_LENGTH_MAX } from "../base/limits.ts";

/** The header. */
export const SUBMISSION_KEY_HEADER = "Idempotency-Key";

/** Visible ASCII. A header that came twice is put together with a comma and a space, and so is none. */
const KEY = /^[\x21-\x7e]+$/;

export function isSubmissionKey(text: string): boolean {
  return text.length <= SUBMISSION_KEY_LENGTH_MAX && KEY.test(text);
}

/** To go behind the text that is no key. */
export const SUBMISSION_KEY_EXPECTED = `1 to ${SUBMISSION_KEY_LENGTH_MAX} visible ASCII characters without spaces are expected, a UUID say`;
