/** What a submission over RPC counts for among the bytes that its token may bring. */
import type { SubmittedForm } from "../caps/client-codec.ts";

/** About what the form brings, as it would be sent over HTTP. */
export function formBytes({ texts, stdin, moduleBytes }: SubmittedForm): number {
  let bytes = stdin.length + (moduleBytes?.length ?? 0);
  for (const [name, values] of texts) for (const value of values) bytes += name.length + Buffer.byteLength(value);
  return bytes;
}
