/** Errors on their way from the store's thread to its client. */
import { ClusterError } from "../../base/errors.ts";
import { StoreFailure } from "../trouble.ts";
import type { ErrorWire } from "./messages.ts";

export function encodeError(error: ClusterError): ErrorWire {
  const { type, code, message } = error;
  return { type, code, message, trouble: error instanceof StoreFailure ? error.trouble : undefined };
}

export function decodeError({ type, code, message, trouble }: ErrorWire): ClusterError {
  return trouble === undefined ? new ClusterError(type, message, { code }) : new StoreFailure(trouble, message);
}
