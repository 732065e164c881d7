/**
 * Refusals that were logged: whoever is refused asks again every second or two, and is worth a warning when that is news,
 * not each time.
 */
import { REFUSALS_REMEMBERED_MAX } from "../base/limits.ts";
import type { Log, LogFields } from "../base/log.ts";

export class RefusalLog {
  readonly #log: Log;
  /** Why each was refused last. The one that was refused longest ago comes first. */
  readonly #reasons = new Map<string, string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** True: it is news. */
  refused(who: string, message: string, fields: LogFields & { readonly reason: string }): boolean {
    const isNews = this.#reasons.get(who) !== fields.reason;
    this.#reasons.delete(who);
    this.#reasons.set(who, fields.reason);
    if (this.#reasons.size > REFUSALS_REMEMBERED_MAX) {
      const [oldest] = this.#reasons.keys();
      if (oldest !== undefined) this.#reasons.delete(oldest);
    }
    if (isNews) this.#log.warn(message, fields);
    else this.#log.debug(message, fields);
    return isNews;
  }

  /** It was let in: the next refusal is news. */
  admitted(who: string): void {
    this.#reasons.delete(who);
  }
}
