/**
 * The multipart parser: busboy, as multer keeps and ships it. multer itself is passed by: it stores a file before the
 * fields beside it are known, and drains a refused body without limit.
 *
 * busboy brings no types; those here are of what is used of it.
 */
import type { IncomingHttpHeaders } from "node:http";
import { createRequire } from "node:module";
import type { Readable, Writable } from "node:stream";
import { assert } from "../../base/errors.ts";
import { FIELDS_MAX, FIELD_BYTES_MAX } from "../../base/limits.ts";

/** What is written to it comes out as parts. A file's stream must be read to its end before more parts come. */
export interface FormParser extends Writable {
  on(event: "file", listener: (name: string | undefined, stream: Readable, file: FileMarks) => void): this;
  on(event: "field", listener: (name: string | undefined, value: string, field: FieldMarks) => void): this;
  on(event: "partsLimit" | "drain" | "finish", listener: () => void): this;
  on(event: "error", listener: (error: Error) => void): this;
}

/** What the parser says beside a field's text. */
export interface FieldMarks {
  readonly valueTruncated: boolean;
}

/** What the parser says beside a file. */
export interface FileMarks {
  /** As the part's head has it, folders included. */
  readonly filename: string | undefined;
}

interface ParserInit {
  readonly headers: IncomingHttpHeaders;
  readonly defParamCharset: string;
  readonly preservePath: boolean;
  readonly limits: { readonly fieldSize: number; readonly parts: number };
}

const require = createRequire(import.meta.url);
const busboy = parseBusboy(createRequire(require.resolve("multer"))("busboy"));

/** Throws when the headers name no boundary. */
export function openFormParser(headers: IncomingHttpHeaders): FormParser {
  return busboy({
    headers,
    defParamCharset: "utf8",
    // The names of input files say where they go. What leads elsewhere is refused by whoever reads them.
    preservePath: true,
    // One more than is allowed: the parser reports a limit that is reached, not one that is passed.
    limits: { fieldSize: FIELD_BYTES_MAX + 1, parts: FIELDS_MAX + 1 },
  });
}

function parseBusboy(loaded: unknown): (init: ParserInit) => FormParser {
  assert(typeof loaded === "function", "busboy is a function");
  return loaded as (init: ParserInit) => FormParser;
}
