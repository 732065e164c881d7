/**
 * Reads the text fields of a form one by one, and collects what is wrong with them. Every message ends the sentence
 * that its field's name begins, and says what to do.
 */
import { DURATION_MS_MAX } from "../base/limits.ts";
import { parseDuration } from "./duration.ts";
import type { FieldError } from "./problem.ts";

/** A form's text parts: a field that was given several times has several values, in their order. */
export type FormTexts = ReadonlyMap<string, readonly string[]>;

export interface IntegerRange {
  readonly min: number;
  readonly max: number;
}

export const INT32: IntegerRange = { min: -(2 ** 31), max: 2 ** 31 - 1 };

const INTEGER = /^[+-]?\d{1,15}$/;
/** How much of a value is shown in a message. */
const SHOWN_LENGTH = 40;
const DAY_MS = 86_400_000;

export class FormFields {
  readonly #texts: FormTexts;
  readonly #errors: FieldError[] = [];

  constructor(texts: FormTexts) {
    this.#texts = texts;
  }

  get errors(): readonly FieldError[] {
    return this.#errors;
  }

  refuse(field: string, message: string): void {
    this.#errors.push({ field, message });
  }

  all(field: string): readonly string[] {
    return this.#texts.get(field) ?? [];
  }

  /** The value of a field that is given once at most; undefined where it was left out or refused. */
  text(field: string): string | undefined {
    const values = this.all(field);
    if (values.length > 1) {
      this.refuse(field, `is given ${values.length} times: give it once`);
      return undefined;
    }
    return values[0];
  }

  /** As `text`, for fields where nothing makes no sense. */
  filled(field: string): string | undefined {
    const text = this.text(field);
    if (text !== "") return text;
    this.refuse(field, "is empty: give it a value, or leave the field out");
    return undefined;
  }

  integer(field: string, { min, max }: IntegerRange): number | undefined {
    const text = this.filled(field);
    if (text === undefined) return undefined;
    const value = INTEGER.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    this.refuse(field, `is ${shown(text)}, and a whole number from ${min} to ${max} is expected`);
    return undefined;
  }

  /** Milliseconds. */
  durationMs(field: string, { minMs = 0 }: { readonly minMs?: number } = {}): number | undefined {
    const text = this.filled(field);
    if (text === undefined) return undefined;
    const durationMs = parseDuration(text);
    if (durationMs !== undefined && durationMs >= minMs && durationMs <= DURATION_MS_MAX) return durationMs;
    this.refuse(field, durationMessage(text, durationMs, minMs));
    return undefined;
  }

  choice<Name extends string>(field: string, names: readonly Name[]): Name | undefined {
    const text = this.filled(field);
    if (text === undefined) return undefined;
    const name = names.find((candidate) => candidate === text);
    if (name === undefined) this.refuse(field, `is ${shown(text)}, and one of ${names.join(", ")} is expected`);
    return name;
  }

  /** A repeatable field, or one value that is a JSON array of strings and numbers. */
  list(field: string): readonly string[] {
    const texts = this.all(field);
    const [only] = texts;
    if (texts.length !== 1 || only === undefined || !only.trimStart().startsWith("[")) return texts;
    const array = parseJson(only);
    if (!Array.isArray(array)) {
      const what = "no JSON array of strings and numbers";
      this.refuse(
        field,
        `is ${shown(only)}, which is ${what}: write ["a","b"], also around one value that begins with [`,
      );
      return [];
    }
    const values: readonly unknown[] = array;
    const fault = values.map(textFault).find((each) => each !== undefined);
    if (fault === undefined) return values.map(String);
    this.refuse(field, `is ${shown(only)}, in which a value ${fault}`);
    return [];
  }

  /**
   * A repeatable `KEY=VALUE` field, or one value that is a JSON object of strings and numbers or an array of such texts. A name given twice
   * has its last value; where `isOneEach`, two different ones are refused.
   */
  pairs(field: string, { isOneEach = false }: { readonly isOneEach?: boolean } = {}): Readonly<Record<string, string>> {
    const values = this.all(field);
    const [only] = values;
    if (values.length === 1 && only?.trimStart().startsWith("{") === true) return this.#pairsOfObject(field, only);
    const pairs: [string, string][] = [];
    for (const text of this.list(field)) {
      const mark = text.indexOf("=");
      if (mark > 0) pairs.push([text.slice(0, mark), text.slice(mark + 1)]);
      else this.refuse(field, `has ${shown(text)}, and KEY=VALUE is expected`);
    }
    const last = new Map<string, string>();
    for (const [name, value] of pairs) {
      const before = last.get(name);
      if (isOneEach && before !== undefined && before !== value) {
        this.refuse(field, `has both ${shown(`${name}=${before}`)} and ${shown(`${name}=${value}`)}: give one of them`);
      }
      last.set(name, value);
    }
    return Object.fromEntries(last);
  }

  #pairsOfObject(field: string, text: string): Readonly<Record<string, string>> {
    const object = parseJson(text);
    if (typeof object !== "object" || object === null) {
      this.refuse(
        field,
        `is ${shown(text)}, which is no JSON object: write {"KEY":"VALUE"}, or KEY=VALUE several times`,
      );
      return {};
    }
    const pairs: [string, string][] = [];
    for (const [key, value] of Object.entries(object)) {
      const fault = textFault(value) ?? textFault(key);
      if (fault !== undefined) {
        this.refuse(field, `has a value of ${shown(key)} that ${fault}`);
      } else if (key === "" || key.includes("=")) {
        this.refuse(field, `has the name ${shown(key)}, and a name is not empty and has no = in it`);
      } else pairs.push([key, String(value)]);
    }
    return Object.fromEntries(pairs);
  }
}

/** A value for a message: quoted, cut. */
export function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text);
}

/** What is wrong with a value of JSON that stands for a text; undefined where nothing is. A number is the text it is written as. */
function textFault(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? undefined : "is no valid Unicode";
    case "number":
      return isExact(value) ? undefined : "is a number with more digits than are kept: put it in quotes";
    default:
      return "is neither text nor a number: put it in quotes";
  }
}

/** Whether a number of JSON is still the one that was written: larger whole ones are rounded, or past all bounds. */
export function isExact(value: number): boolean {
  return Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
}

function durationMessage(text: string, durationMs: number | undefined, minMs: number): string {
  const what = `is ${shown(text)}, and `;
  if (durationMs === undefined) return `${what}seconds or a duration like 500ms, 2s, 5m, 1h or 1d is expected`;
  if (durationMs < minMs) return `${what}more than 0 is expected`;
  return `${what}at most ${DURATION_MS_MAX / DAY_MS} days is expected`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
