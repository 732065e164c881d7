/** A row that is not what was written: the file is damaged, whatever SQLite thinks of it. */
import { StoreFailure } from "../trouble.ts";

export class DamagedRow extends StoreFailure {
  /** What was found, to go behind a colon. */
  readonly what: string;

  constructor(what: string, cause?: unknown) {
    super("damaged", `the database is damaged: ${what}`, cause);
    this.what = what;
  }
}

/** What was stored as JSON. Throws DamagedRow. */
export function parseStored(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (thrown) {
    throw new DamagedRow("a column holds JSON that is none", thrown);
  }
}
