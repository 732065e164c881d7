/** Very many tasks, made by copying the rows of a few that a store has made: what they cost to make is not measured. */
import { DatabaseSync } from "node:sqlite";

const TABLES = [
  { table: "tasks", column: "serial" },
  { table: "specs", column: "serial" },
  { table: "runs", column: "task" },
  { table: "attempts", column: "task" },
  { table: "output", column: "task" },
] as const;

/** Above the serials of the tasks that are copied. */
const FIRST_SERIAL = 1_000;

export interface Copies {
  /** Of the task that is copied. */
  readonly id: string;
  readonly copies: number;
  /** Between the due times of one copy's runs and the next one's. Default: they are the same. */
  readonly dueEveryMs?: number;
}

/** The store is closed meanwhile. */
export function copyTasks(path: string, all: readonly Copies[]): void {
  using file = new DatabaseSync(path);
  file.exec("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; PRAGMA journal_mode = OFF; BEGIN");
  let firstSerial = FIRST_SERIAL;
  for (const each of all) {
    const task = file.prepare("SELECT serial, finished_at FROM tasks WHERE id = ?").get(each.id);
    for (const { table, column } of TABLES) copyRows(file, table, column, Number(task?.["serial"]), firstSerial, each);
    if (task?.["finished_at"] === null) {
      file.prepare("UPDATE counters SET value = value + ? WHERE name = 'unfinished'").run(each.copies);
    }
    firstSerial += each.copies;
  }
  file.exec("COMMIT; PRAGMA journal_mode = WAL");
}

function copyRows(
  file: DatabaseSync,
  table: string,
  column: string,
  template: number,
  firstSerial: number,
  { copies, dueEveryMs = 0 }: Copies,
): void {
  const columns = file.prepare("SELECT name FROM pragma_table_info(?)").all(table);
  const names = columns.map(({ name }) => String(name)).filter((name) => name !== "row");
  const values = names.map((name) => {
    if (name === column) return "n.value";
    if (name === "due_at") return `due_at + ${dueEveryMs} * (n.value - ${firstSerial})`;
    return name === "id" ? "id || '-' || n.value" : name;
  });
  file.exec(
    `WITH RECURSIVE n(value) AS (
       SELECT ${firstSerial} UNION ALL SELECT value + 1 FROM n WHERE value < ${firstSerial + copies - 1})
     INSERT INTO ${table} (${names.join(", ")})
     SELECT ${values.join(", ")} FROM n, (SELECT * FROM ${table} WHERE ${column} = ${template})`,
  );
}
