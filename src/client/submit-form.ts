/** A submission as the form that `POST /tasks` takes. */

/** Numbers of durations are seconds; text may have a unit (`500ms`). Fields that are left out have their defaults. */
export interface SubmitFields {
  /** The module; with an entry of a worker's own any bytes, or none. A Blob is streamed, never held as a whole. */
  readonly wasm?: Blob | Uint8Array<ArrayBuffer> | undefined;
  /** Instead of `wasm`: the SHA-256 of a module that the gateway has. */
  readonly module?: string | null | undefined;
  readonly id?: string | undefined;
  readonly description?: string | undefined;
  readonly complete?: number | string | undefined;
  readonly duration?: number | string | undefined;
  /** Seconds from now, or an RFC 3339 time. */
  readonly start?: number | string | undefined;
  readonly delay?: number | string | undefined;
  readonly repeats?: number | string | undefined;
  /** Instead of `start` and `delay`: a cron expression of 5 or 6 fields. Then without `repeats`: until it is cancelled. */
  readonly cron?: string | undefined;
  /** Of `cron`: an IANA name. */
  readonly timezone?: string | undefined;
  readonly overlap?: string | undefined;
  readonly catchup?: string | undefined;
  /** Ids of tasks that have to succeed first. */
  readonly after?: readonly string[] | undefined;
  readonly input?: number | string | undefined;
  readonly difficulty?: number | string | undefined;
  readonly entry?: string | undefined;
  readonly args?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly stdin?: string | Blob | Uint8Array<ArrayBuffer> | undefined;
  readonly timeout?: number | string | undefined;
  readonly cpu?: number | string | undefined;
  /** MiB. */
  readonly memory?: number | string | undefined;
  /** Bytes. */
  readonly outputMax?: number | string | undefined;
  readonly outputLimit?: string | undefined;
  readonly retries?: number | string | undefined;
  readonly backoff?: number | string | undefined;
  readonly retryOn?: readonly string[] | undefined;
  readonly priority?: number | string | undefined;
  readonly require?: Readonly<Record<string, string>> | undefined;
  /** What the guest finds below its `/`. Text is the kept file of another task: `@<task>[#<run>]/<path>`. */
  readonly files?: readonly (SubmittedFile | string)[] | undefined;
  /** Globs: which of its files are kept after a run. */
  readonly outputs?: readonly string[] | undefined;
}

export interface SubmittedFile {
  /** Names joined by single slashes. */
  readonly path: string;
  readonly content: Blob | Uint8Array<ArrayBuffer>;
}

const PLAIN_FIELDS = [
  "module",
  "id",
  "description",
  "complete",
  "duration",
  "start",
  "delay",
  "repeats",
  "cron",
  "timezone",
  "overlap",
  "catchup",
  "input",
  "difficulty",
  "entry",
  "timeout",
  "cpu",
  "memory",
  "outputMax",
  "outputLimit",
  "retries",
  "backoff",
  "priority",
] as const satisfies readonly (keyof SubmitFields)[];

/** The module goes last: a gateway that refuses a field may do so before it is sent. */
export function submitForm(fields: SubmitFields): FormData {
  const form = new FormData();
  for (const name of PLAIN_FIELDS) {
    const value = fields[name];
    if (value !== undefined && value !== null) form.append(name, plainText(value));
  }
  // As JSON: an argument's line ends would be changed as a form's text.
  if (fields.args !== undefined) form.append("args", JSON.stringify(fields.args));
  if (fields.env !== undefined) form.append("env", JSON.stringify(fields.env));
  for (const id of fields.after ?? []) form.append("after", id);
  for (const kind of fields.retryOn ?? []) form.append("retryOn", kind);
  for (const [key, value] of Object.entries(fields.require ?? {})) form.append("require", `${key}=${value}`);
  for (const glob of fields.outputs ?? []) form.append("outputs", glob);
  for (const file of fields.files ?? []) {
    if (typeof file === "string") form.append("files", file);
    else form.append("files", blobOf(file.content), file.path);
  }
  if (fields.stdin !== undefined) form.append("stdin", blobOf(fields.stdin), "stdin");
  if (fields.wasm !== undefined) form.append("wasm", blobOf(fields.wasm), "module.wasm");
  return form;
}

/** `1e-7` is no duration on the wire, so numbers are written without an exponent. */
function plainText(value: number | string): string {
  if (typeof value === "string" || !Number.isFinite(value)) return String(value);
  const text = String(value);
  return text.includes("e") ? value.toFixed(6) : text;
}

function blobOf(content: string | Blob | Uint8Array<ArrayBuffer>): Blob {
  return content instanceof Blob ? content : new Blob([content]);
}
