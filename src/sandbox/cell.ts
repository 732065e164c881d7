/**
 * A cell: what one kind of child process may read, prepared once, and the way to start one in it. The folder holds the
 * process's code, and is its root where the machine allows that (`cell-root.ts`); Node's permission model lets it read
 * the same and nothing else. Cells are caches: named by their content, made by whoever needs one first, never changed.
 */
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CodeFiles } from "./cell-code.ts";
import { makeCellRoot, openToAll, planCellRoot } from "./cell-root.ts";
import type { CellRoot } from "./cell-root.ts";
import { walledCommand } from "./walls.ts";
import type { ProcessLimits } from "./walls.ts";
import type { WallsUp } from "./wall-probe.ts";

/** What a kind of process is. */
export interface CellPlan {
  /** Its first file, from the folder of all layers, without its extension: `worker/runner/child/main`. */
  readonly entry: string;
  /** Folders that it may read besides its code; real paths. */
  readonly reads?: readonly string[];
}

export interface CellSpawn {
  /** Options for Node, besides those of the permission model. */
  readonly flags: readonly string[];
  /** The process gets these, and after them its own id as it is seen from here (0: the one of what was started). */
  readonly args: readonly string[];
  readonly stdio: StdioOptions;
  readonly limits: ProcessLimits;
}

export interface CellInit extends CellPlan {
  readonly scratchFolder: string;
  readonly walls: WallsUp;
}

const NAME = /^(?:cell|runner)-/;
const CODE_FOLDER = "capmesh-code";

export class Cell {
  readonly #walls: WallsUp;
  readonly #folder: string;
  readonly #entry: string;
  readonly #reads: readonly string[];
  readonly #mountPoint: string | undefined;

  private constructor(init: CellInit, folder: string, entry: string, root: CellRoot | undefined) {
    this.#walls = init.walls;
    this.#reads = init.reads ?? [];
    this.#folder = folder;
    this.#entry = entry;
    this.#mountPoint = root?.mountPoint;
  }

  /** The cell, made if it is not there yet. */
  static async open(init: CellInit): Promise<Cell> {
    const { folder, code, root } = await planFolder(init.scratchFolder, init);
    const cell = new Cell(init, folder, code.entry, root);
    if (await exists(folder)) return cell;
    const draft = await mkdtemp(`${folder}.`);
    try {
      for (const [path, text] of await code.read()) {
        const file = join(draft, CODE_FOLDER, path);
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, text);
      }
      if (root !== undefined) await makeCellRoot(draft, root);
      await openToAll(draft);
      await putInPlace(draft, folder);
    } catch (error) {
      await rm(draft, { recursive: true, force: true });
      throw error;
    }
    return cell;
  }

  /** Made from its content: another version has another. */
  get name(): string {
    return basename(this.#folder);
  }

  /** The folder that holds its code, as the process sees it. */
  get codeFolder(): string {
    return this.#hasRoot ? `/${CODE_FOLDER}` : join(this.#folder, CODE_FOLDER);
  }

  get entryPath(): string {
    return join(this.codeFolder, this.#entry);
  }

  /** Starts a process, in a session of its own: what a terminal sends to its owner's group is not for it. May throw. */
  spawn({ flags, args, stdio, limits }: CellSpawn): ChildProcess {
    const reads = [`${this.codeFolder}/`, ...this.#reads.map((path) => (path.endsWith("/") ? path : `${path}/`))];
    const [file = "", ...rest] = walledCommand({
      walls: this.#walls.names,
      tools: this.#walls.tools,
      mountPoint: this.#mountPoint,
      limits,
      program: [
        process.execPath,
        "--permission",
        ...reads.map((path) => `--allow-fs-read=${path}`),
        ...flags,
        this.entryPath,
        ...args,
      ],
    });
    // Its own folder is how a user who may not walk down to it still finds it; where it is no root, it means nothing.
    return spawn(file, rest, { env: {}, cwd: this.#hasRoot ? this.#folder : "/", detached: true, stdio });
  }

  get #hasRoot(): boolean {
    return this.#mountPoint !== undefined && this.#walls.names.has("file-system");
  }
}

/**
 * Removes the cells in `scratchFolder` but those of `plans`, whole or not. No process of theirs may run: the folder
 * belongs to one program.
 */
export async function removeOldCells(scratchFolder: string, plans: readonly CellPlan[]): Promise<void> {
  const current = await Promise.all(plans.map((plan) => planFolder(scratchFolder, plan)));
  const kept = current.map(({ folder }) => basename(folder));
  for (const name of await readdir(scratchFolder)) {
    // Somebody else may be making a draft of ours, whose name begins with that of the folder.
    if (!NAME.test(name) || kept.some((folder) => name.startsWith(folder))) continue;
    await rm(join(scratchFolder, name), { recursive: true, force: true });
  }
}

interface PlannedFolder {
  readonly folder: string;
  readonly code: CodeFiles;
  readonly root: CellRoot | undefined;
}

async function planFolder(scratchFolder: string, { entry, reads = [] }: CellPlan): Promise<PlannedFolder> {
  const [code, root] = await Promise.all([CodeFiles.find(entry), planCellRoot(reads)]);
  const hash = createHash("sha256")
    .update(process.version)
    .update(JSON.stringify(root ?? null));
  code.hashInto(hash);
  // The permission model compares real paths.
  const folder = join(await realpath(scratchFolder), `cell-${hash.digest("hex").slice(0, 20)}`);
  return { folder, code, root };
}

/** Moves the finished folder to its name, unless another process has just done the same with the same content. */
async function putInPlace(draft: string, folder: string): Promise<void> {
  try {
    await rename(draft, folder);
  } catch (error) {
    if (!(await exists(folder))) throw error;
    await rm(draft, { recursive: true, force: true });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
