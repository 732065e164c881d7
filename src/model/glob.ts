/**
 * Globs over file paths. A path is names joined by slashes (`file-path.ts`), and a glob matches the whole of it.
 *
 *     *        any characters but a slash, also none
 *     **       as a whole part: any number of parts, also none; as the last part: everything below
 *     ?        one character but a slash
 *     [a-z_]   one of these; [!a-z] or [^a-z] one of the others, but no slash. A ] that comes first stands for itself
 *     \*       the character itself, whatever it means otherwise
 *
 * A dot at the beginning of a name is nothing special, and a slash at the beginning of a glob says nothing: all paths
 * begin at the guest's `/`. Case matters.
 *
 * A glob becomes a list of steps, and matching walks all ways through it at once: its time is at most the product of
 * the two lengths, whoever chose them.
 */
import { OUTPUT_GLOB_LENGTH_MAX } from "../base/limits.ts";

export type GlobMatcher = (path: string) => boolean;

/** Where several globs stand after the beginning of a path. Immutable. */
export interface GlobWalk {
  /** After so much more of the path, however it is cut between characters; undefined: nothing that begins so matches. */
  advance(text: string): GlobWalk | undefined;
  /** What there is of the path is matched by one of them. */
  readonly matches: boolean;
}

export type CompiledGlob =
  | { readonly ok: true; readonly matches: GlobMatcher; readonly walk: GlobWalk }
  /** Ends the sentence that the glob begins. */
  | { readonly ok: false; readonly reason: string };

/** What one step does with a character; characters are code points. */
type Step =
  | { readonly kind: "literal"; readonly char: string }
  | { readonly kind: "one"; readonly isIn: (char: string) => boolean }
  /** Takes any number of characters but slashes. */
  | { readonly kind: "star" }
  /** Where a part begins: goes on, or skips this part and the slash behind it. The step after it is its `part`. */
  | { readonly kind: "parts" }
  /** Inside a part that is skipped; comes back to the `parts` before it. */
  | { readonly kind: "part" }
  | { readonly kind: "rest" };

const SLASH = "/";

export function compileGlob(glob: string): CompiledGlob {
  if (glob.length > OUTPUT_GLOB_LENGTH_MAX) return refused(`is longer than ${OUTPUT_GLOB_LENGTH_MAX} characters`);
  const text = glob.startsWith(SLASH) ? glob.slice(1) : glob;
  if (text === "") return refused("is empty: name files, as in out/*.txt, or ** for all");
  if (text.includes("\0") || !text.isWellFormed()) return refused("has something in it that no path has");
  if (text.endsWith(SLASH)) return refused("ends with a slash: for all files below a folder write folder/**");
  const steps: Step[] = [];
  const parts = text.split(SLASH);
  for (const [index, part] of parts.entries()) {
    if (part === "" || part === "." || part === "..")
      return refused("has a part that is empty, . or .. and names nothing");
    const isLast = index === parts.length - 1;
    if (part === "**") {
      steps.push(...(isLast ? [{ kind: "rest" } as const] : [{ kind: "parts" } as const, { kind: "part" } as const]));
      continue;
    }
    const problem = pushPart(steps, part);
    if (problem !== undefined) return refused(problem);
    if (!isLast) steps.push({ kind: "literal", char: SLASH });
  }
  const states = new Set<number>();
  reach(steps, 0, states);
  const walk = new StepWalk(steps, states);
  return { ok: true, matches: (path) => walk.advance(path)?.matches === true, walk };
}

/** Whether one of them matches; nothing matches none. Throws for a glob that does not compile: those were refused before. */
export function matcherOf(globs: readonly string[]): GlobMatcher {
  const walk = walkOf(globs);
  return (path) => walk.advance(path)?.matches === true;
}

/** The same, for who comes upon paths piece by piece. */
export function walkOf(globs: readonly string[]): GlobWalk {
  return new SeveralWalks(
    globs.map((glob) => {
      const compiled = compileGlob(glob);
      if (!compiled.ok) throw new Error(`the glob ${JSON.stringify(glob)} ${compiled.reason}`);
      return compiled.walk;
    }),
  );
}

/** Appends the steps of one part. Returns what is wrong with it. */
function pushPart(steps: Step[], part: string): string | undefined {
  const chars = Array.from(part);
  for (let at = 0; at < chars.length; at++) {
    const char = chars[at] ?? "";
    if (char === "*") {
      if (steps.at(-1)?.kind !== "star") steps.push({ kind: "star" });
    } else if (char === "?") {
      steps.push({ kind: "one", isIn: () => true });
    } else if (char === "[") {
      const set = parseSet(chars, at);
      if (set === undefined) return "has a [ without its ] in the same part: write \\[ for the character itself";
      steps.push({ kind: "one", isIn: set.isIn });
      at = set.end;
    } else if (char === "\\") {
      at++;
      const escaped = chars[at];
      if (escaped === undefined) return "has a \\ with nothing behind it: write \\\\ for the character itself";
      steps.push({ kind: "literal", char: escaped });
    } else {
      steps.push({ kind: "literal", char });
    }
  }
  return undefined;
}

/** The set that begins at `start`, and where its `]` is. */
function parseSet(
  chars: readonly string[],
  start: number,
): { readonly isIn: (char: string) => boolean; readonly end: number } | undefined {
  let at = start + 1;
  const isNegated = chars[at] === "!" || chars[at] === "^";
  if (isNegated) at++;
  const first = at;
  const ranges: (readonly [number, number])[] = [];
  for (; at < chars.length; at++) {
    if (chars[at] === "]" && at > first) {
      return { isIn: (char) => ranges.some(([from, to]) => isBetween(char, from, to)) !== isNegated, end: at };
    }
    if (chars[at] === "\\") at++;
    const from = chars[at];
    if (from === undefined) return undefined;
    let to = from;
    const isRange = chars[at + 1] === "-" && chars[at + 2] !== undefined && chars[at + 2] !== "]";
    if (isRange) {
      at += 2;
      if (chars[at] === "\\") at++;
      to = chars[at] ?? from;
    }
    ranges.push([codeOf(from), codeOf(to)]);
  }
  return undefined;
}

function isBetween(char: string, from: number, to: number): boolean {
  const code = codeOf(char);
  return code >= from && code <= to;
}

function codeOf(char: string): number {
  return char.codePointAt(0) ?? 0;
}

class SeveralWalks implements GlobWalk {
  readonly #walks: readonly GlobWalk[];

  constructor(walks: readonly GlobWalk[]) {
    this.#walks = walks;
  }

  get matches(): boolean {
    return this.#walks.some((walk) => walk.matches);
  }

  advance(text: string): GlobWalk | undefined {
    const walks = this.#walks.flatMap((walk) => walk.advance(text) ?? []);
    return walks.length === 0 ? undefined : new SeveralWalks(walks);
  }
}

/** Walks all ways through the steps at once. A state is the step that is next; the last one is past all of them. */
class StepWalk implements GlobWalk {
  readonly #steps: readonly Step[];
  readonly #states: ReadonlySet<number>;

  constructor(steps: readonly Step[], states: ReadonlySet<number>) {
    this.#steps = steps;
    this.#states = states;
  }

  get matches(): boolean {
    return this.#states.has(this.#steps.length);
  }

  advance(text: string): GlobWalk | undefined {
    let states = this.#states;
    for (const char of text) {
      const next = new Set<number>();
      for (const state of states) advance(this.#steps, state, char, next);
      if (next.size === 0) return undefined;
      states = next;
    }
    return new StepWalk(this.#steps, states);
  }
}

/** Adds a state, and those that it leads to without a character. */
function reach(steps: readonly Step[], state: number, states: Set<number>): void {
  for (let at = state; !states.has(at);) {
    states.add(at);
    const kind = steps[at]?.kind;
    if (kind === "star" || kind === "rest") at += 1;
    else if (kind === "parts") at += 2;
    else return;
  }
}

function advance(steps: readonly Step[], state: number, char: string, next: Set<number>): void {
  const step = steps[state];
  switch (step?.kind) {
    case undefined:
      return;
    case "literal":
      if (step.char === char) reach(steps, state + 1, next);
      return;
    case "one":
      if (char !== SLASH && step.isIn(char)) reach(steps, state + 1, next);
      return;
    case "star":
      if (char !== SLASH) reach(steps, state, next);
      return;
    case "parts":
      if (char !== SLASH) reach(steps, state + 1, next);
      return;
    case "part":
      reach(steps, char === SLASH ? state - 1 : state, next);
      return;
    case "rest":
      reach(steps, state, next);
  }
}

function refused(reason: string): CompiledGlob {
  return { ok: false, reason };
}
