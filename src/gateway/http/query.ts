/** The query of a request, read strictly: a value that cannot be used is a refusal, not a default. */
import type { Request } from "express";
import { parseDuration } from "../../api/duration.ts";
import { type IntegerRange, shown } from "../../api/form-fields.ts";
import { invalidFields } from "./problem.ts";

export class Query {
  readonly #params: URLSearchParams;

  constructor(request: Request) {
    const mark = request.originalUrl.indexOf("?");
    this.#params = new URLSearchParams(mark < 0 ? "" : request.originalUrl.slice(mark));
  }

  text(name: string): string | undefined {
    return this.#params.get(name) ?? undefined;
  }

  /** Throws a Refusal where it is something else. */
  integer(name: string, { min, max }: IntegerRange): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw refused(name, `is ${shown(text)}, and a whole number from ${min} to ${max} is expected`);
  }

  /** Throws a Refusal where it is none of `names`. */
  choice<Name extends string>(name: string, names: readonly Name[]): Name | undefined {
    const text = this.text(name);
    const choice = names.find((candidate) => candidate === text);
    if (text === undefined || choice !== undefined) return choice;
    throw refused(name, `is ${shown(text)}, and one of ${names.join(", ")} is expected`);
  }

  /** `1`, `true` or nothing after the name: true. Throws a Refusal where it is something else than these or 0, false. */
  flag(name: string): boolean | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (["", "1", "true"].includes(text)) return true;
    if (["0", "false"].includes(text)) return false;
    throw refused(name, `is ${shown(text)}, and 1 or 0 is expected`);
  }

  /** Milliseconds. Throws a Refusal where it is no duration. */
  durationMs(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const durationMs = parseDuration(text);
    if (durationMs === undefined) {
      throw refused(name, `is ${shown(text)}, and seconds or a duration like 500ms, 2s or 5m is expected`);
    }
    return durationMs;
  }
}

function refused(field: string, message: string): Error {
  return invalidFields([{ field, message }]);
}

/** The address of the next page. */
export function nextPageLink(request: Request, cursor: string): string {
  const mark = request.originalUrl.indexOf("?");
  const params = new URLSearchParams(mark < 0 ? "" : request.originalUrl.slice(mark));
  params.set("cursor", cursor);
  const path = mark < 0 ? request.originalUrl : request.originalUrl.slice(0, mark);
  return `<${path}?${params.toString()}>; rel="next"`;
}
