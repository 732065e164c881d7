/** Pieces of output that a runner has sent and nobody has taken yet. */
import type { OutputStream } from "../../model/output.ts";

export interface Segment {
  readonly stream: OutputStream;
  readonly bytes: Uint8Array;
}

/** Takes the first segment and those after it on the same stream, as one. */
export function takeSegment(segments: Segment[]): Segment | undefined {
  const first = segments[0];
  if (first === undefined) return undefined;
  let count = 1;
  let length = first.bytes.length;
  while (segments[count]?.stream === first.stream) {
    length += segments[count]?.bytes.length ?? 0;
    count++;
  }
  const taken = segments.splice(0, count);
  if (count === 1) return first;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const segment of taken) {
    bytes.set(segment.bytes, at);
    at += segment.bytes.length;
  }
  return { stream: first.stream, bytes };
}
