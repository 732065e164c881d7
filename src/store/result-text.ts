/** A stream's beginning as the text that a result shows. */
import { RESULT_TEXT_BYTES_MAX } from "../base/limits.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * At most RESULT_TEXT_BYTES_MAX bytes as UTF-8, invalid ones as U+FFFD. A character that the cut goes through is left
 * out whole. `bytes` is the stream's beginning; it may be longer.
 */
export function resultText(bytes: Uint8Array): string {
  if (bytes.length === 0) return "";
  const isCut = bytes.length > RESULT_TEXT_BYTES_MAX;
  const kept = isCut ? bytes.subarray(0, characterStart(bytes, RESULT_TEXT_BYTES_MAX)) : bytes;
  return utf8.decode(kept);
}

/** The largest index up to `end` at which no UTF-8 character is cut in two. */
function characterStart(bytes: Uint8Array, end: number): number {
  // A character has at most three bytes after its first; more of them are no UTF-8, and are cut anywhere.
  for (let start = end; start > Math.max(0, end - 4); start -= 1) {
    if (!isContinuation(bytes[start] ?? 0)) return start;
  }
  return end;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
