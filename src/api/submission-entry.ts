/** The `entry` of a submission, and what goes with it: one of WebAssembly's, or a kind that workers have of their own. */
import { type Entry, KIND_PATTERN_TEXT, WASM_ENTRIES, isWasmEntry, parseEntry } from "../model/entry.ts";
import { closestName } from "./closest.ts";
import { type FormFields, shown } from "./form-fields.ts";

/** A slip in the name of one of WebAssembly's entries would wait for a worker that nobody starts. */
export function parseWantedEntry(fields: FormFields): Entry | undefined {
  const text = fields.filled("entry");
  if (text === undefined) return undefined;
  const entry = parseEntry(text);
  const slip = entry === undefined || isWasmEntry(entry) ? undefined : closestName(text, WASM_ENTRIES);
  if (entry !== undefined && slip === undefined) return entry;
  const hint = closestName(text, WASM_ENTRIES);
  fields.refuse(
    "entry",
    hint === undefined
      ? `is ${shown(text)}, and ${WASM_ENTRIES.join(", ")}, or a kind of a worker's own is expected: ${KIND_PATTERN_TEXT}`
      : `is ${shown(text)}: did you mean ${hint}? Kinds of a worker's own have names that are less like it`,
  );
  return undefined;
}

/** What only holds for WebAssembly is refused for other kinds, not dropped: nobody would see to it. */
export function refuseWasmFields(fields: FormFields, kind: Entry): void {
  for (const field of ["memory", "cpu"]) {
    if (fields.all(field).length > 0) {
      fields.refuse(field, `cannot be held for entry=${kind}, which a worker's own program runs: leave it out`);
    }
  }
  for (const field of ["input", "difficulty"]) {
    if (fields.all(field).length > 0) {
      fields.refuse(field, `is an argument of a module's run, and entry=${kind} has none: use args, or leave it out`);
    }
  }
}
