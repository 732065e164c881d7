/** What goes over the pipes of a sandboxed process: frames of one kind byte, a little-endian u32 length and that many bytes. */

export const FRAME_HEADER_BYTES = 5;

/** A frame's header; the payload follows it. */
export function encodeFrameHeader(kind: number, length: number): Uint8Array {
  const header = new Uint8Array(FRAME_HEADER_BYTES);
  header[0] = kind;
  new DataView(header.buffer).setUint32(1, length, true);
  return header;
}
