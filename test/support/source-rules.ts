/**
 * Reads source text the way the layer test needs it: what is imported, what is touched, how a file is named. It works on
 * formatted code (imports begin a line, comments are whole lines or end one) and on one file at a time, so that a test can
 * hand it a file that does not exist.
 */

export interface SourceFile {
  /** From the repository's root, with slashes: `src/net/dialer.ts`. */
  readonly path: string;
  readonly text: string;
}

/** The code without comments, line by line; strings are kept. */
export function codeLines(text: string): readonly string[] {
  let isInComment = false;
  return text.split("\n").map((line) => {
    const trimmed = line.trimStart();
    if (isInComment || trimmed.startsWith("/*")) {
      isInComment = !trimmed.includes("*/");
      return isInComment ? "" : trimmed.slice(trimmed.indexOf("*/") + 2);
    }
    return trimmed.startsWith("//") ? "" : line.replace(/\s\/\/ .*$/, "").replace(/\/\*\*? .*? \*\//g, "");
  });
}

/** Every module that the file names: imports, exports from, type imports, dynamic imports, programs by URL. */
export function importedModules(text: string): readonly string[] {
  const code = codeLines(text).join("\n");
  const patterns = [
    /^\s*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\bimport\(\s*["']([^"']+)["']/g,
    /\bnew URL\(\s*["'](\.{1,2}\/[^"']+\.[cm]?[jt]s)["'],\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** `src/<layer>/…`; undefined outside of `src`. */
export function layerOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1];
}

/** Where a relative import leads, from the repository's root; undefined for packages. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** Imports that point to a layer the table does not allow. One sentence each. */
export function layerViolations(
  file: SourceFile,
  table: Readonly<Record<string, readonly string[]>>,
): readonly string[] {
  const layer = layerOf(file.path);
  if (layer === undefined) return [];
  const allowed = table[layer];
  if (allowed === undefined) return [`${file.path}: the folder src/${layer} is no layer of the table`];
  return importedModules(file.text).flatMap((specifier) => {
    const target = resolveImport(file.path, specifier);
    // What the package says of itself belongs to nobody.
    if (target === undefined || target === "package.json") return [];
    const targetLayer = layerOf(target);
    if (targetLayer === layer || (targetLayer !== undefined && allowed.includes(targetLayer))) return [];
    return [`${file.path}: ${layer}/ may not import ${specifier}`];
  });
}

const POWERFUL_MODULES =
  /^node:(?:fs|fs\/promises|net|tls|dgram|dns|dns\/promises|http|https|http2|child_process|cluster|sqlite|os|worker_threads)$/;

/** Node modules for files, sockets and processes where they do not belong. */
export function powerViolations(file: SourceFile, folders: readonly string[]): readonly string[] {
  if (folders.some((folder) => file.path.startsWith(folder))) return [];
  return importedModules(file.text)
    .filter((specifier) => POWERFUL_MODULES.test(specifier))
    .map((specifier) => `${file.path}: ${specifier} belongs to ${folders.join(", ")}`);
}

const AMBIENT = /\b(?:process\.env|Date\.now|Math\.random|new Date\(\))|(?<![.\w])console\./;

/** What is to be handed in and not reached for. */
export function ambientViolations(file: SourceFile, exempt: readonly string[]): readonly string[] {
  if (exempt.some((prefix) => file.path.startsWith(prefix))) return [];
  return codeLines(file.text).flatMap((line, index) => {
    const found = AMBIENT.exec(line)?.[0];
    return found === undefined
      ? []
      : [`${file.path}:${index + 1}: ${found} is for app/ and cli/; take it as an argument`];
  });
}

const BANNED_ANYWHERE = /(?:^|-)(?:managers?|helpers?|utils?|common|misc)(?:-|$)/;
const BANNED_AS_NOUN = /(?:^|-)(?:data|infos?|jobs?|nodes?)$/;
const KEBAB_CASE = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

export function nameViolations(file: SourceFile): readonly string[] {
  const name = (file.path.split("/").at(-1) ?? "").replace(/(?:\.test)?\.(?:ts|mjs)$/, "");
  const violations: string[] = [];
  if (!KEBAB_CASE.test(name)) violations.push(`${file.path}: file names are kebab-case`);
  if (BANNED_ANYWHERE.test(name) || BANNED_AS_NOUN.test(name)) violations.push(`${file.path}: the name says nothing`);
  return violations;
}

const LINES_MAX = 400;

/** How a file is made: a header, no default export, no barrel, short or with its reason, no marker for unfinished work. */
export function shapeViolations(file: SourceFile): readonly string[] {
  const lines = codeLines(file.text);
  const code = lines.filter((line) => line.trim() !== "").join("\n");
  const header = headerOf(file.text);
  const violations: string[] = [];
  if (header === "") violations.push("begins without a comment that says what it is for");
  if (/^export default\b/m.test(code)) violations.push("has a default export");
  if (/^export \*/m.test(code)) violations.push("exports another file's everything");
  if (/^export\b/m.test(code) && code.replace(/^export (?:type )?\{[^}]*\} from "[^"]*";?$/gm, "").trim() === "") {
    violations.push("is a barrel: it only exports what others have");
  }
  if (file.text.split("\n").length > LINES_MAX + 1 && !/\bis long\b/i.test(header.replaceAll(/\s*\n \* /g, " "))) {
    violations.push(`has more than ${LINES_MAX} lines and its header does not say why it is long`);
  }
  if (/\bFIXME\b/.test(file.text)) violations.push("has a FIXME");
  if (/\bTODO\b(?!\((?:soon|someday|perf|security)\): )/.test(file.text)) {
    violations.push("has a TODO without (soon|someday|perf|security)");
  }
  return violations.map((violation) => `${file.path}: ${violation}`);
}

function headerOf(text: string): string {
  const block = /^(?:#!.*\n)?\/\*[\s\S]*?\*\//.exec(text) ?? /^(?:#!.*\n)?(?:\/\/.*\n)+/.exec(text);
  return block?.[0] ?? "";
}

const DECODER = /^(?:decode|parse)/;

/** `as` outside of functions that decode or parse. `as const` is no assertion. */
export function assertionViolations(file: SourceFile): readonly string[] {
  const violations: string[] = [];
  const lines = codeLines(file.text);
  lines.forEach((line, index) => {
    const code = line.replace(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g, '""');
    if (!/[\w)\]}>"] as (?!const\b)[A-Za-z{([]/.test(code) || /^\s*(?:import|export)\b|^\s*type \w+ as \w+/.test(code))
      return;
    if (/^\s*(?:type )?\w+ as \w+,?$/.test(code)) return;
    if (DECODER.test(enclosingFunction(lines, index) ?? "")) return;
    violations.push(`${file.path}:${index + 1}: \`as\` belongs in decode… and parse… functions`);
  });
  return violations;
}

/** The name of the nearest function, method or function-valued constant that begins above with less indentation. */
function enclosingFunction(lines: readonly string[], at: number): string | undefined {
  let indentation = Infinity;
  for (let index = at; index >= 0; index--) {
    const line = lines[index] ?? "";
    if (line.trim() === "") continue;
    const own = line.length - line.trimStart().length;
    if (own >= indentation) continue;
    const name = FUNCTION_NAME.exec(line)
      ?.slice(1)
      .find((group) => group !== undefined);
    if (name !== undefined && (own < indentation || index === at) && !KEYWORD.test(name)) return name;
    indentation = own;
  }
  return undefined;
}

const FUNCTION_NAME =
  /\bfunction\*? (\w+)|^\s*(?:export )?const (\w+)(?:: [^=]+)? = (?:async )?(?:\(|\w+ =>)|^\s*(?:(?:static|async|override|get|\*) ?)*#?(\w+)(?:<[^>]*>)?\(/;
const KEYWORD = /^(?:if|for|while|switch|return|catch|await|function)$/;
