/** What a peer may be told of what went wrong in a call. */
import { ClusterError, failed } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { StoreFailure } from "../store/trouble.ts";
import type { StoreReadiness } from "./services.ts";
import { storeTrouble } from "./store-trouble.ts";

const STORE_CODES: ReadonlySet<string> = new Set(["store-unavailable", "store-closed"]);

export interface AnswerPeerInit {
  readonly log: Log;
  readonly storeHealth: Pick<StoreReadiness, "noteFailure">;
}

/** Rejects with refusals as they are, and with no paths and nothing of the inside otherwise: that is logged here. */
export async function answerPeer<T>({ log, storeHealth }: AnswerPeerInit, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (thrown instanceof StoreFailure) storeHealth.noteFailure(thrown);
    if (thrown instanceof ClusterError && !STORE_CODES.has(thrown.code)) throw thrown;
    log.error("a client's call failed", { error: thrown });
    if (thrown instanceof ClusterError) throw storeTrouble(thrown);
    throw failed("something went wrong in the gateway; its log says what", { code: "internal" });
  }
}
