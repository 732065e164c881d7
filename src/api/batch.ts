/**
 * `POST /tasks/batch`: lines of JSON, one task each, with the fields of `POST /tasks` by their names. What a form repeats
 * is an array here, and `env` and `require` may be objects. Every line names a module that the gateway has.
 */
import { BATCH_NESTING_MAX } from "../base/limits.ts";
import type { CronChecks } from "./cron-checks.ts";
import { isExact } from "./form-fields.ts";
import type { FieldError } from "./problem.ts";
import { type Submission, parseSubmission } from "./submission.ts";

/**
 * What a batch may be called by who sends it. Lines of JSON have a name of their own, and most programs send them under
 * one that they give to any text or bytes.
 */
export const BATCH_TYPES = [
  "application/x-ndjson",
  "application/ndjson",
  "application/jsonl",
  "application/jsonlines",
  "application/x-jsonlines",
  "application/json",
  "application/octet-stream",
  "application/x-www-form-urlencoded",
  "text/plain",
] as const;

/** A line that is not empty, and its number, from 1. */
export interface BatchLine {
  readonly line: number;
  readonly text: string;
}

/** The first `max` lines that are not blank. Blank ones cost no memory: a body may have millions of them. */
export function batchLines(text: string, { max }: { readonly max: number }): readonly BatchLine[] {
  const lines: BatchLine[] = [];
  let from = 0;
  for (let line = 1; from <= text.length && lines.length < max; line++) {
    // Nothing but line ends is passed over several times as fast so.
    if (text.charCodeAt(from) === LINE_FEED) {
      from++;
      continue;
    }
    const found = text.indexOf("\n", from);
    const end = found === -1 ? text.length : found;
    const trimmed = text.slice(from, end).trim();
    if (trimmed !== "") lines.push({ line, text: trimmed });
    from = end + 1;
  }
  return lines;
}

export type LineResult =
  | { readonly ok: true; readonly submission: Submission }
  /** `readable` is what could be read of it, without what was refused; undefined where it is no JSON object. */
  | { readonly ok: false; readonly errors: readonly FieldError[]; readonly readable?: Submission | undefined };

/** What the lines of one batch share. */
export interface LinesContext {
  readonly now: number;
  readonly crons: CronChecks;
}

export function parseLine({ text }: Pick<BatchLine, "text">, { now, crons }: LinesContext): LineResult {
  const fields = parseObject(text);
  if (fields === undefined) {
    return { ok: false, errors: [{ field: "line", message: `is no JSON object: ${objectHint(text)}` }] };
  }
  const texts = new Map<string, readonly string[]>();
  const errors: FieldError[] = [];
  for (const [field, value] of Object.entries(fields)) {
    const one = textOf(value);
    if (one === undefined) errors.push({ field, message: unusable(value) });
    else if (one !== null) texts.set(field, [one]);
  }
  const parsed = parseSubmission({ texts, now, hasModuleFile: false, batch: { crons } });
  if (parsed.ok) {
    const { submission } = parsed;
    return errors.length === 0 ? { ok: true, submission } : { ok: false, errors, readable: submission };
  }
  // A field that could not be read is not missing besides.
  const refused = new Set(errors.map(({ field }) => field));
  errors.push(...parsed.errors.filter(({ field }) => !refused.has(field)));
  return { ok: false, errors, readable: parsed.readable };
}

/** What to do about a line that is no object. */
function objectHint(text: string): string {
  if (text.startsWith("[")) return "send what is in the list line by line, as jq -c '.[]' writes it";
  if (text.includes("}{"))
    return "each line is one; curl takes line ends out of a file unless it is sent with --data-binary";
  return 'each line is one, like {"module":"<sha256>","id":"a"}';
}

function parseObject(text: string): object | undefined {
  if (nestsDeeply(text)) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** As a form's field has it; null: it is not given. */
function textOf(value: unknown): string | null | undefined {
  switch (typeof value) {
    case "string":
      return value;
    case "number":
      return isExact(value) ? numberText(value) : undefined;
    case "object":
      return value === null ? null : JSON.stringify(value);
    default:
      return undefined;
  }
}

function unusable(value: unknown): string {
  return typeof value === "number"
    ? "is a number with more digits than are kept: write a smaller one, or put it in quotes"
    : "is neither text nor a number, nor a list or an object of them";
}

/** Without an exponent, which no field takes. */
function numberText(value: number): string {
  const text = String(value);
  return text.includes("e") ? value.toFixed(6) : text;
}

/**
 * Whether there are more lists and objects within each other than any field has. To parse millions of them takes seconds,
 * to look at each character does not.
 */
function nestsDeeply(text: string): boolean {
  let depth = 0;
  let isInString = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        isInString = !isInString;
        break;
      case BACKSLASH:
        if (isInString) at++;
        break;
      case OPENING_BRACKET:
      case OPENING_BRACE:
        if (!isInString && ++depth > BATCH_NESTING_MAX) return true;
        break;
      case CLOSING_BRACKET:
      case CLOSING_BRACE:
        if (!isInString) depth--;
    }
  }
  return false;
}

const LINE_FEED = 0x0a;
const QUOTE = 0x22;
const OPENING_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSING_BRACKET = 0x5d;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
