/** What tasks require of workers, each a number: ready runs are found by it, so that those which no worker can take cost nothing. */
import { decodeNumber } from "./columns.ts";
import type { Database } from "./database.ts";

/** The number that stands for this requirement, which is numbered when it first comes. */
export function numberRequirement(db: Database, labels: string): number {
  if (labels === "") return 0;
  const known = db.get("SELECT number FROM requirements WHERE labels = ?", labels);
  if (known !== undefined) return decodeNumber(known.number);
  return db.insert("INSERT INTO requirements (labels) VALUES (?)", labels);
}

/** Forgets the number when the task that had it was the last one. */
export function dropRequirement(db: Database, task: { readonly requirement: number }): void {
  if (task.requirement === 0) return;
  db.run(
    "DELETE FROM requirements WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE requirement = ?1 AND requirement > 0)",
    task.requirement,
  );
}
