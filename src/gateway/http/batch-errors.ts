/**
 * What is wrong with the lines of a batch, as it is found: in several passes, each of which goes through the lines in
 * order. A pass that has found more than can be told stops there: what it would find later comes behind all that is told.
 */
import type { FieldError, ProblemCode } from "../../api/problem.ts";
import type { TaskId } from "../../base/ids.ts";
import { BATCH_ERRORS_MAX } from "../../base/limits.ts";
import { Refusal } from "./problem.ts";

/** Where a task stands in its batch. */
export interface BatchPlace {
  /** From 1. */
  readonly line: number;
  /** Among the batch's tasks, from 0. */
  readonly index: number;
  readonly id?: TaskId | undefined;
}

/** What the first pass has left undone where it stopped: no other looks at those lines. */
const READING = "nothing was looked at";

export class BatchErrors {
  /** Of the batch. */
  readonly lineCount: number;
  readonly #lines = new Set<number>();
  readonly #codes = new Set<ProblemCode>();
  readonly #kept: (FieldError & BatchPlace)[] = [];
  #count = 0;
  #pass = READING;
  #countOfPass = 0;
  /** The last one with an error. */
  #lineOfPass = 0;
  /** Behind which line each pass stopped that did. */
  readonly #stops = new Map<string, number>();

  constructor(lineCount: number) {
    this.lineCount = lineCount;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** The lines are gone through from the first again, to look for this, which is called in the plural. */
  beginPass(lookedFor: string): void {
    this.#pass = `${lookedFor} were not looked for`;
    this.#countOfPass = 0;
  }

  /** To be asked before each line: whether the pass has found more than can be told, and so has ended. */
  hasEndedPass(): boolean {
    if (this.#countOfPass <= BATCH_ERRORS_MAX) return false;
    this.#stops.set(this.#pass, this.#lineOfPass);
    return true;
  }

  add({ line, index, id }: BatchPlace, code: ProblemCode, errors: readonly FieldError[]): void {
    if (errors.length > 0) this.#lineOfPass = line;
    for (const { field, message } of errors) {
      this.#count += 1;
      this.#lines.add(line);
      this.#codes.add(code);
      this.#countOfPass += 1;
      if (this.#countOfPass > BATCH_ERRORS_MAX) continue;
      this.#kept.push({ line, index, ...(id === undefined ? {} : { id }), field, message });
    }
  }

  /** Of all of them, by line. It has the code that they share, or else that of fields. */
  refusal(): Refusal {
    const shown = this.#kept.toSorted((one, other) => one.line - other.line).slice(0, BATCH_ERRORS_MAX);
    const sentences = shown.map(({ line, id, field, message }) => {
      const name = id === undefined ? "" : ` (${id})`;
      return `line ${line}${name}: ${field} ${message}`;
    });
    const isCut = this.#stops.size > 0;
    const more = this.#count > shown.length ? `; and ${isCut ? "" : `${this.#count - shown.length} `}more` : "";
    const unread = Array.from(this.#stops, ([what, line]) => `; behind line ${line} ${what}`).join("");
    const count = `${isCut ? "at least " : ""}${this.#lines.size} of ${this.lineCount} lines`;
    const detail = `${count} cannot be accepted, so none is: ${sentences.join("; ")}${more}${unread}`;
    const [code = "invalid-field", ...others] = this.#codes;
    return new Refusal(others.length === 0 ? code : "invalid-field", detail, { errors: shown });
  }
}
