/** Cutting bytes into text where a character ends. Bytes that are not UTF-8 become U+FFFD. */

/** Keeps a byte order mark: it is part of what was written. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** All of `bytes` as text. */
export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** The first `bytesMax` bytes as text, cut where a character ends. */
export function decodeWhole(bytes: Uint8Array, bytesMax: number): string {
  if (bytes.length <= bytesMax) return decodeText(bytes);
  const head = bytes.subarray(0, bytesMax);
  return decodeText(head.subarray(0, head.length - incompleteTail(head)));
}

/**
 * How many bytes at the end are the beginning of a character whose rest may follow: 0 to 3. A decoder that is given all
 * bytes before them, and then them with what follows, gives the same text as for the whole.
 */
export function incompleteTail(bytes: Uint8Array): number {
  for (let length = 1; length <= Math.min(3, bytes.length); length++) {
    const lead = bytes[bytes.length - length] ?? 0;
    if (lead < 0x80) return 0;
    if (lead < 0xc0) continue;
    return isPrefix(lead, bytes.subarray(bytes.length - length + 1)) ? length : 0;
  }
  return 0;
}

/** The well-formed sequences of the Unicode standard, table 3-7: the second byte's range depends on the first. */
function isPrefix(lead: number, rest: Uint8Array): boolean {
  const needed = lead >= 0xc2 && lead <= 0xdf ? 1 : (lead & 0xf0) === 0xe0 ? 2 : lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
  if (rest.length >= needed) return false;
  const [second] = rest;
  if (second === undefined) return true;
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  return second >= lowest && second <= highest;
}
