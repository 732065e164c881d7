/**
 * The code that a runner process may read: its entry file and what that imports, as plain JavaScript in a folder of
 * their own. In a clone the sources are TypeScript, whose types would cost each new process a third of a second; so
 * they are stripped once and kept under a name made from their content. The folder is all that a runner can read.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { failed } from "../../base/errors.ts";

/** The folder of all layers, in the sources as in what is built from them. */
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
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

export interface RunnerCode {
  /** The one folder a runner is allowed to read. */
  readonly folder: string;
  readonly entryPath: string;
}

/** What processes start at: names in `child/`, without extension. */
export type RunnerEntry = "main" | "transpile";

const ENTRIES: readonly RunnerEntry[] = ["main", "transpile"];
const FOLDER_PREFIX = "runner-";

/** Puts the code of the process that starts at `entry` into `scratchFolder`. */
export async function prepareRunnerCode(scratchFolder: string, entry: RunnerEntry): Promise<RunnerCode> {
  const { sources, code } = await planCode(scratchFolder, entry);
  if (await exists(code.entryPath)) return code;
  const texts = [...sources.values()];
  const stripped = EXTENSION === ".ts" ? await stripTypes(texts) : texts;
  const draft = await mkdtemp(`${code.folder}.`);
  let index = 0;
  for (const path of sources.keys()) {
    const file = join(draft, target(path));
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, (stripped[index] ?? "").replace(SPECIFIER, '$1.mjs"'));
    index++;
  }
  await putInPlace(draft, code.folder);
  return code;
}

/**
 * Removes the code that other versions left in `scratchFolder`, whole or not. No process of theirs may run: the folder
 * belongs to one program, whose pools have the same code.
 */
export async function removeOldCode(scratchFolder: string): Promise<void> {
  const current = await Promise.all(ENTRIES.map((entry) => planCode(scratchFolder, entry)));
  const kept = current.map(({ code }) => basename(code.folder));
  for (const name of await readdir(scratchFolder)) {
    // Another pool may be making a draft of ours, whose name begins with that of the folder.
    if (!name.startsWith(FOLDER_PREFIX) || kept.some((folder) => name.startsWith(folder))) continue;
    await rm(join(scratchFolder, name), { recursive: true, force: true });
  }
}

async function planCode(
  scratchFolder: string,
  entry: RunnerEntry,
): Promise<{ sources: ReadonlyMap<string, string>; code: RunnerCode }> {
  const entryFile = join(ROOT, "worker", "runner", "child", `${entry}${EXTENSION}`);
  const sources = await readClosure(entryFile);
  const hash = createHash("sha256").update(process.version);
  for (const [path, source] of sources) hash.update(`${relative(ROOT, path)}\0${source}\0`);
  // The permission model compares real paths.
  const folder = join(await realpath(scratchFolder), `${FOLDER_PREFIX}${hash.digest("hex").slice(0, 20)}`);
  return { sources, code: { folder, entryPath: join(folder, target(entryFile)) } };
}

/** Moves the finished folder to its name, unless another process has just done the same with the same content. */
async function putInPlace(draft: string, folder: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!(await exists(folder))) throw error;
  }
}

/** The file and all it imports by relative names, type-only imports left out. */
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

async function stripTypes(sources: readonly string[]): Promise<string[]> {
  const child = spawn(process.execPath, ["--no-warnings", "--input-type=module", "--eval", STRIP], {
    env: {},
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify(sources));
  let text = "";
  for await (const chunk of child.stdout.setEncoding("utf8")) text += String(chunk);
  return parseTexts(text, sources.length);
}

function parseTexts(text: string, count: number): string[] {
  const parsed: unknown = text === "" ? undefined : JSON.parse(text);
  if (!Array.isArray(parsed) || parsed.length !== count) throw failed("the runner's code could not be prepared");
  return parsed.map(String);
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
