/** What is wrong with cron expressions, if anything, each looked into once: of a batch many lines may have the same. */
import { hasSlots, parseCron } from "../model/cron.ts";
import { shown } from "./form-fields.ts";

export class CronChecks {
  readonly #now: number;
  readonly #found = new Map<string, string | undefined>();

  constructor(now: number) {
    this.#now = now;
  }

  /** Ends a sentence that `cron` begins; undefined: the expression has slots. The zone is one that there is. */
  fault(cron: string, timezone: string): string | undefined {
    const key = `${timezone} ${cron}`;
    if (!this.#found.has(key)) this.#found.set(key, this.#look(cron, timezone));
    return this.#found.get(key);
  }

  #look(cron: string, timezone: string): string | undefined {
    const result = parseCron(cron, timezone);
    if (!result.ok) return result.reason;
    if (hasSlots(cron, timezone, this.#now)) return undefined;
    return `is ${shown(cron)}, which no day ever matches: such a task would never run`;
  }
}
