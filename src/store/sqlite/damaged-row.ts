/** A row that is not what was written: the file is damaged, whatever SQLite thinks of it. */
import { ClusterError } from "../../base/errors.ts";

export class DamagedRow extends ClusterError {
  constructor(what: string, cause?: unknown) {
    super("failed", `the database is damaged: ${what}`, { code: "store-unavailable", cause });
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
