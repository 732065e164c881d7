/** A `Range` header, as far as it is worth it: one range of bytes. What is asked in another way gets the whole. */

export interface ByteRange {
  readonly from: number;
  /** The first byte that is not asked for. */
  readonly to: number;
}

/** Undefined: the whole. */
export function parseRange(header: string | undefined, bytes: number): ByteRange | "unsatisfiable" | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.replaceAll(" ", "") ?? "");
  const [, first = "", last = ""] = match ?? [];
  if (match === null || (first === "" && last === "")) return undefined;
  if (first === "") {
    const from = Math.max(0, bytes - Number(last));
    return from < bytes ? { from, to: bytes } : "unsatisfiable";
  }
  const from = Number(first);
  if (last !== "" && Number(last) < from) return undefined;
  if (from >= bytes) return "unsatisfiable";
  return { from, to: last === "" ? bytes : Math.min(bytes, Number(last) + 1) };
}
