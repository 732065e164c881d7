/** Whether work is taken now: asked before anything is read of what somebody sends. */
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";

const HEADERS = { "retry-after": "2" };

/** Throws a Refusal: the gateway drains, or its store takes nothing new. */
export function requireTakingWork({ readiness, storeHealth }: Pick<HttpContext, "readiness" | "storeHealth">): void {
  const reason = readiness.notReadyBecause();
  if (reason !== undefined) {
    throw new Refusal("not-ready", `The gateway takes no work now: ${reason}. Send this again, or elsewhere.`, {
      headers: HEADERS,
    });
  }
  const trouble = storeHealth.refusesBecause();
  if (trouble !== undefined) throw storeRefusal(trouble);
}

export function storeRefusal(trouble: string): Refusal {
  return new Refusal("store-unavailable", `The store takes nothing new now: ${trouble}. Send this again later.`, {
    headers: HEADERS,
  });
}
