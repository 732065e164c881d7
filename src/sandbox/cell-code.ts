/**
 * The code of one kind of child process: its entry file and what that imports, as plain JavaScript. In a clone the
 * sources are TypeScript, whose types would cost each new process a third of a second; so they are stripped once.
 */
import type { Hash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { overloaded } from "../base/errors.ts";
import { STRIP_TYPES_MS_MAX } from "../base/limits.ts";
import { describeEnd, runToEnd } from "./run-to-end.ts";

/** The folder of all layers, in the sources as in what is built from them. */
const ROOT = fileURLToPath(new URL("../", import.meta.url));
const EXTENSION = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
const IMPORT = /^(?:import|export)\s(?!type\b)[^;"]*?from\s+"(\.[^"]+)"/gm;
const SPECIFIER = /(\bfrom\s+"\.[^"]+)\.(?:ts|js)"/g;

/** Strips the types from a JSON array of sources on stdin; on its own since Node warns of it on stderr. */
const STRIP = `
import { stripTypeScriptTypes } from "node:module";
let text = "";
for await (const chunk of process.stdin.setEncoding("utf8")) text += chunk;
process.stdout.write(JSON.stringify(JSON.parse(text).map((source) => stripTypeScriptTypes(source))));
`;

export class CodeFiles {
  /** The entry's path among the files. */
  readonly entry: string;
  /** The sources by their paths, in order. */
  readonly #sources: ReadonlyMap<string, string>;

  private constructor(entry: string, sources: ReadonlyMap<string, string>) {
    this.entry = entry;
    this.#sources = sources;
  }

  /** The file `entry`, from the folder of all layers and without its extension, and all it imports by relative names. */
  static async find(entry: string): Promise<CodeFiles> {
    const file = join(ROOT, `${entry}${EXTENSION}`);
    return new CodeFiles(target(file), await readClosure(file));
  }

  hashInto(hash: Hash): void {
    for (const [path, source] of this.#sources) hash.update(`${relative(ROOT, path)}\0${source}\0`);
  }

  /** Paths, relative, and texts. */
  async read(): Promise<(readonly [string, string])[]> {
    const texts = [...this.#sources.values()];
    const stripped = EXTENSION === ".ts" ? await stripTypes(texts) : texts;
    return [...this.#sources.keys()].map((path, index) => {
      const text = stripped[index] ?? "";
      return [target(path), text.replace(SPECIFIER, '$1.mjs"')];
    });
  }
}

/** Type-only imports are left out. */
async function readClosure(entryFile: string): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  const todo = [entryFile];
  for (let path = todo.pop(); path !== undefined; path = todo.pop()) {
    if (sources.has(path)) continue;
    const source = await readFile(path, "utf8");
    sources.set(path, source);
    for (const match of source.matchAll(IMPORT)) todo.push(join(dirname(path), match[1] ?? ""));
  }
  return new Map([...sources].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function target(path: string): string {
  return relative(ROOT, path)
    .split(sep)
    .join("/")
    .replace(/\.\w+$/, ".mjs");
}

/** Rejects as `overloaded` where this machine cannot do it now. */
async function stripTypes(sources: readonly string[]): Promise<string[]> {
  const end = await runToEnd({
    command: [process.execPath, "--no-warnings", "--input-type=module", "--eval", STRIP],
    cwd: ROOT,
    input: JSON.stringify(sources),
    timeoutMs: STRIP_TYPES_MS_MAX,
  });
  const texts = end.exitCode === 0 ? parseTexts(end.stdout, sources.length) : undefined;
  if (texts !== undefined) return texts;
  throw overloaded(`the code of a sandboxed process could not be prepared: ${describeEnd(end)}`, { code: "sandbox" });
}

function parseTexts(text: string, count: number): string[] | undefined {
  const parsed: unknown = text === "" ? undefined : JSON.parse(text);
  return Array.isArray(parsed) && parsed.length === count ? parsed.map(String) : undefined;
}
