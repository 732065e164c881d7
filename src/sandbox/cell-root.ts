/**
 * The root folder of a process that sees nothing of the machine's files but what it needs: Node, the libraries that Node
 * is linked to, its own code, and the folders it was given. The folder holds the code, and empty places on which the rest
 * is mounted, read-only, in the process's own mount namespace; `mount` reads from a file in it what goes where.
 *
 * All but the code stands at its own path, so that a program's arguments are the same with this wall as without.
 */
import { chmod, lstat, mkdir, open, readdir, readFile, readlink, realpath, symlink, writeFile } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { ELF_HEADERS_BYTES_MAX } from "../base/limits.ts";
import { MOUNTS_FILE } from "./walls.ts";

/** A root folder as it is to be made. */
export interface CellRoot {
  /** An existing folder of the machine over which the root is mounted, out of the way of all that goes into it. */
  readonly mountPoint: string;
  readonly mounts: readonly Mount[];
  /** Top folders that are links, `/lib` say, and where they lead. */
  readonly links: readonly (readonly [string, string])[];
}

interface Mount {
  /** The same path inside as outside. */
  readonly path: string;
  readonly isFolder: boolean;
}

const FOLDER_MODE = 0o755;
const FILE_MODE = 0o644;
const MOUNT_POINTS = ["/mnt", "/srv", "/opt", "/media", "/sys"];
const LIBRARY_FOLDERS = ["/lib", "/lib64", "/lib32", "/libx32"];
/** Flags that a mount may have been given for good have to be there again when it becomes read-only. */
const OPTIONS = "ro,nosuid,nodev";

/**
 * What goes into the root of a process of this very Node that may read the folders `reads`. Undefined where that cannot
 * be told: not on Linux, or a program of an unknown format.
 */
export async function planCellRoot(reads: readonly string[]): Promise<CellRoot | undefined> {
  if (process.platform !== "linux") return undefined;
  try {
    const program = await realpath(process.execPath);
    const folders = outermost([...(await libraryFolders()), ...reads]);
    const mounts: Mount[] = folders.map((path) => ({ path, isFolder: true }));
    const loader = await readLoader(program);
    for (const path of loader === undefined ? [program] : [program, loader]) {
      if (!folders.some((folder) => isInside(path, folder))) mounts.push({ path, isFolder: false });
    }
    const mountPoint = await findMountPoint(mounts);
    return mountPoint === undefined ? undefined : { mountPoint, mounts, links: await readLinks() };
  } catch {
    return undefined;
  }
}

/** Makes the empty places in `folder`, and the file that says what is mounted on them. */
export async function makeCellRoot(folder: string, { mountPoint, mounts, links }: CellRoot): Promise<void> {
  const lines = [`. ${mountPoint} none bind,${OPTIONS},noexec 0 0`];
  for (const { path, isFolder } of mounts) {
    const place = join(folder, path);
    await mkdir(isFolder ? place : dirname(place), { recursive: true });
    if (!isFolder) await writeFile(place, "");
    const kind = isFolder ? "rbind" : "bind";
    lines.push(`${encodeField(path)} ${encodeField(join(mountPoint, path))} none ${kind},${OPTIONS} 0 0`);
  }
  for (const [path, target] of links) await symlink(target, join(folder, path));
  await writeFile(join(folder, MOUNTS_FILE), `${lines.join("\n")}\n`);
}

/** Lets everybody read the folder and all in it: whoever the process runs as, and whatever the umask kept from them. */
export async function openToAll(folder: string): Promise<void> {
  await chmod(folder, FOLDER_MODE);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(path, FOLDER_MODE);
    else if (entry.isFile()) await chmod(path, FILE_MODE);
  }
}

/** A path as fstab(5) has it. */
function encodeField(path: string): string {
  return path.replace(/[\s\\#]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`);
}

/** The folders of what this process has loaded: what a child of the same program will load. */
async function libraryFolders(): Promise<string[]> {
  const maps = await readFile("/proc/self/maps", "utf8");
  const folders = new Set<string>();
  for (const [, path = ""] of maps.matchAll(/ (\/\S*\.so(?:\.[\w.]+)?)(?: \(deleted\))?$/gm))
    folders.add(dirname(path));
  return [...folders];
}

/** Without those that lie in another. */
function outermost(folders: readonly string[]): string[] {
  const distinct = [...new Set(folders)];
  return distinct.filter((folder) => !distinct.some((other) => other !== folder && isInside(folder, other)));
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/**
 * The path of the program that loads its libraries (ELF: the segment PT_INTERP), its folder's links followed; undefined
 * when it needs none.
 */
async function readLoader(program: string): Promise<string | undefined> {
  await using file = await open(program);
  const { buffer } = await file.read(new Uint8Array(ELF_HEADERS_BYTES_MAX), 0, ELF_HEADERS_BYTES_MAX, 0);
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const [CLASS_64, LITTLE, SEGMENT_INTERP] = [2, 1, 3];
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== CLASS_64 || view.getUint8(5) !== LITTLE) {
    throw new Error("the program is of another format than this knows");
  }
  const start = Number(view.getBigUint64(32, true));
  const [size, count] = [view.getUint16(54, true), view.getUint16(56, true)];
  for (let at = start; at < start + size * count; at += size) {
    if (view.getUint32(at, true) !== SEGMENT_INTERP) continue;
    const from = Number(view.getBigUint64(at + 8, true));
    const length = Number(view.getBigUint64(at + 32, true));
    const path = new TextDecoder().decode(buffer.subarray(from, from + length - 1));
    return join(await realpath(dirname(path)), path.slice(path.lastIndexOf("/") + 1));
  }
  return undefined;
}

async function findMountPoint(mounts: readonly Mount[]): Promise<string | undefined> {
  for (const path of MOUNT_POINTS) {
    if (mounts.some((mount) => isInside(mount.path, path))) continue;
    const found = await lstat(path).catch(() => undefined);
    if (found?.isDirectory() === true) return path;
  }
  return undefined;
}

async function readLinks(): Promise<(readonly [string, string])[]> {
  const links: (readonly [string, string])[] = [];
  for (const path of LIBRARY_FOLDERS) {
    const target = await readlink(path).catch(() => undefined);
    if (target !== undefined) links.push([path, target]);
  }
  return links;
}
