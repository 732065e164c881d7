/**
 * What a worker is told when the store fails. For the gateway's user a full disk is `failed`: somebody has to see to it.
 * A worker loses nothing by waiting until that is done, and would end its guests over an error that says that trying
 * again will not do.
 */
import { type ClusterError, overloaded, toClusterError } from "../base/errors.ts";

export function storeTrouble(thrown: unknown): ClusterError {
  const error = toClusterError(thrown);
  if (error.type !== "failed") return error;
  return overloaded("the gateway's store is out of order; try again later", { code: error.code, cause: error });
}
