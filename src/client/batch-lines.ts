/** Many submissions as the lines that `POST /tasks/batch` takes, and the lines of its answer. */
import { type TaskJson, taskSchema } from "../api/task-json.ts";
import type { SubmitFields } from "./submit-form.ts";

/** A submission without bytes of its own: its module, and its files, are at the gateway. */
export interface BatchFields extends Omit<SubmitFields, "wasm" | "module" | "stdin" | "files"> {
  /** The SHA-256 of a module that the gateway has; with an entry of a worker's own it may be left out. */
  readonly module?: string | null | undefined;
  readonly stdin?: string | undefined;
  /** Kept files of other tasks: `[<path>=]@<task>[#<run>]/<path>`. */
  readonly files?: readonly string[] | undefined;
}

export function batchText(tasks: readonly BatchFields[]): string {
  return tasks.map((fields) => `${JSON.stringify(fields, asText)}\n`).join("");
}

/** JSON has no NaN: as text it is refused by its name, and not taken for a field that is left out. */
function asText(_field: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** The tasks, in their order; undefined where the answer is something else. */
export function parseBatchAnswer(text: string, count: number): TaskJson[] | undefined {
  const lines = text.split("\n").filter((line) => line !== "");
  const tasks = lines.flatMap((line) => parseTask(line) ?? []);
  return tasks.length === count && lines.length === count ? tasks : undefined;
}

function parseTask(line: string): TaskJson | undefined {
  try {
    return taskSchema.parse(JSON.parse(line));
  } catch {
    return undefined;
  }
}
