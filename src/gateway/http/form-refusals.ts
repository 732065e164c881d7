/** What is said of forms that cannot be read, or have too much of something. */
import { messageOf } from "../../base/errors.ts";
import {
  FIELDS_MAX,
  FORM_BYTES_HELD_MAX,
  INPUT_FILES_BYTES_MAX,
  INPUT_FILES_MAX,
  STDIN_BYTES_MAX,
} from "../../base/limits.ts";
import { Refusal } from "./problem.ts";

export function unreadableForm(thrown: unknown): Refusal {
  return new Refusal(
    "invalid-form",
    `The form cannot be read (${messageOf(thrown)}): send it as curl -F or FormData do.`,
  );
}

export function tooManyFields(): Refusal {
  return new Refusal("too-large", `The form has more than ${FIELDS_MAX} parts: send args and env as JSON.`);
}

/** For one that holds more beside its files than a task can have. */
export function formTooLarge(): Refusal {
  const mib = FORM_BYTES_HELD_MAX / (1024 * 1024);
  return new Refusal(
    "too-large",
    `The form has more than ${mib} MiB beside its files: send less, or send it as files.`,
  );
}

export function tooManyFiles(): Refusal {
  const message = `has more than ${INPUT_FILES_MAX} files: send fewer, or pack them into one`;
  return new Refusal("too-large", `files ${message}`, { errors: [{ field: "files", message }] });
}

export function filesTooLarge(): Refusal {
  const message = `are larger than ${INPUT_FILES_BYTES_MAX / (1024 * 1024)} MiB together: send less, or pack them`;
  return new Refusal("too-large", `files ${message}`, { errors: [{ field: "files", message }] });
}

export function fieldTooLarge(field: string, bytesMax: number): Refusal {
  const hint = field === "stdin" && bytesMax < STDIN_BYTES_MAX ? ": send it as a file" : "";
  const message = `is longer than ${bytesMax} bytes${hint}`;
  return new Refusal("too-large", `${field} ${message}`, { errors: [{ field, message }] });
}
