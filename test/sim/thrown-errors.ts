/** Whose fault it is that something was thrown: a store's in trouble, which is part of the weather, or the code's. */
import { ClusterError } from "../../src/base/errors.ts";

const STORE_CODES: readonly string[] = ["store-busy", "store-unavailable", "store-closed"];

/** A store in trouble has refused something. */
export function isStoreTrouble(thrown: unknown): boolean {
  return thrown instanceof ClusterError && STORE_CODES.includes(thrown.code);
}

/** No peer, disk or network makes code throw one of these; `assert` throws an `Error` that says so. */
export function isProgrammersError(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const isOwn = thrown instanceof TypeError || thrown instanceof ReferenceError || thrown instanceof RangeError;
  return isOwn || thrown.message.startsWith("assertion failed") || isProgrammersError(thrown.cause);
}
