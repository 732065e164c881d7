/**
 * Which walls this machine can build, found out by building them: each is tried alone, for the reason if it fails, and
 * then all that work are tried together around a Node that looks about and says what it sees. A wall that does not hold
 * what it promises is not there.
 */
import { constants } from "node:fs";
import { access, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { RUNNER_DATA_BYTES_MAX, RUNNER_DESCRIPTORS_MAX, WALL_PROBE_MS_MAX } from "../base/limits.ts";
import { makeCellRoot, openToAll, planCellRoot } from "./cell-root.ts";
import { describeEnd, runToEnd } from "./run-to-end.ts";
import { MOUNTS_FILE, WALL_NAMES, walledCommand } from "./walls.ts";
import type { WallName, WallReport, WallTools } from "./walls.ts";

/** The walls that were found to hold, and what builds them. */
export interface WallsUp {
  readonly names: ReadonlySet<WallName>;
  readonly tools: WallTools;
}

export interface WallVerdict extends WallsUp {
  readonly reports: readonly WallReport[];
}

/** Where programs are, as a service has it that nobody gave a path. */
const FOLDERS = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/run/current-system/sw/bin"];
/** Which is given up first when walls do not work together. */
const LEAST_FIRST: readonly WallName[] = [
  "file-system",
  "unprivileged-user",
  "ipc-namespace",
  "network-namespace",
  "pid-namespace",
  "user-namespace",
  "no-new-privileges",
  "resource-limits",
];
const LIMITS = { dataBytes: RUNNER_DATA_BYTES_MAX, descriptors: RUNNER_DESCRIPTORS_MAX };

/** Run behind the walls. Its arguments: the id of the process that must not be within reach, and what it has to read. */
const LOOK = `
const fs = process.getBuiltinModule("fs");
const isReachable = (pid) => { try { return process.kill(pid, 0); } catch (error) { return error.code === "EPERM"; } };
const isReadable = (path) => { try { fs.accessSync(path, fs.constants.R_OK); return true; } catch { return false; } };
process.stdout.write(JSON.stringify({
  pid: process.pid,
  uid: process.getuid(),
  interfaces: Object.keys(process.getBuiltinModule("os").networkInterfaces()).length,
  seesFiles: fs.existsSync("/etc") || fs.existsSync("/proc/self"),
  readsItsOwn: process.argv.slice(2, -1).every(isReadable),
  reachesOwner: isReachable(Number(process.argv[1])),
}));
`;

interface Sight {
  readonly pid: number;
  readonly uid: number;
  readonly interfaces: number;
  readonly seesFiles: boolean;
  readonly readsItsOwn: boolean;
  readonly reachesOwner: boolean;
}

/**
 * Tries `walls`, around a process that may read the folders `reads`. The scratch folder is for a while of the probe's
 * use; it must be on the disk where cells will be.
 */
export async function probeWalls(
  scratchFolder: string,
  walls: readonly WallName[],
  reads: readonly string[] = [],
): Promise<WallVerdict> {
  const tools = await findTools();
  if (walls.length === 0) return { tools, names: new Set(), reports: [] };
  const folder = await mkdtemp(join(scratchFolder, "probe-"));
  try {
    const root = await planCellRoot(reads);
    if (root !== undefined) await makeCellRoot(folder, root);
    await openToAll(folder);
    const probe = new WallProbe({ walls, tools, folder, reads, mountPoint: root?.mountPoint });
    return { tools, ...(await probe.run()) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface WallProbeInit {
  readonly walls: readonly WallName[];
  readonly tools: WallTools;
  readonly folder: string;
  readonly reads: readonly string[];
  readonly mountPoint: string | undefined;
}

class WallProbe {
  readonly #init: WallProbeInit;
  readonly #reports = new Map<WallName, WallReport>();

  constructor(init: WallProbeInit) {
    this.#init = init;
  }

  async run(): Promise<{ names: ReadonlySet<WallName>; reports: readonly WallReport[] }> {
    await Promise.all(this.#init.walls.map((name) => this.#tryAlone(name)));
    const names = new Set(LEAST_FIRST.filter((name) => this.#reports.get(name)?.state === "up"));
    // What stands on another falls with it.
    if (!names.has("user-namespace")) {
      for (const name of ["file-system", "ipc-namespace", "network-namespace", "pid-namespace"] as const) {
        if (names.has(name)) this.#drop(names, name, "it needs a user namespace");
      }
    }
    for (const name of LEAST_FIRST) {
      const trouble = await this.#tryTogether(names);
      if (trouble === undefined) break;
      if (names.has(name)) this.#drop(names, name, `it does not work together with the others: ${trouble}`);
    }
    return { names, reports: WALL_NAMES.flatMap((name) => this.#reports.get(name) ?? []) };
  }

  #drop(names: Set<WallName>, name: WallName, reason: string): void {
    names.delete(name);
    this.#reports.set(name, { name, state: "absent", reason });
  }

  async #tryAlone(name: WallName): Promise<void> {
    if (name === "unprivileged-user" && process.getuid?.() !== 0) {
      this.#reports.set(name, { name, state: "not-needed", reason: "this process is not root's" });
      return;
    }
    const command = this.#commandFor(name);
    const trouble = Array.isArray(command) ? await this.#troubleOf(command) : command;
    this.#reports.set(name, trouble === undefined ? { name, state: "up" } : { name, state: "absent", reason: trouble });
  }

  /** The least that shows whether a wall can be built, or why it cannot even be tried. */
  #commandFor(name: WallName): string[] | string {
    const { tools, mountPoint } = this.#init;
    const { sh, setpriv, unshare, mount } = tools;
    if (sh === undefined) return "there is no /bin/sh";
    if (name === "resource-limits") {
      const dataKib = Math.floor(LIMITS.dataBytes / 1_024);
      return [sh, "-c", `ulimit -c 0 && ulimit -f 0 && ulimit -n ${LIMITS.descriptors} && ulimit -d ${dataKib}`];
    }
    if (process.platform !== "linux") return "only Linux has it";
    if (name === "no-new-privileges" || name === "unprivileged-user") {
      if (setpriv === undefined) return "the program setpriv is not installed (util-linux)";
      const flags = name === "unprivileged-user" ? ["--reuid=65534", "--regid=65534", "--clear-groups"] : [];
      return [setpriv, ...flags, "--no-new-privs", "--pdeathsig=KILL", sh, "-c", ":"];
    }
    if (unshare === undefined) return "the program unshare is not installed (util-linux)";
    const spaced = (...flags: string[]): string[] => [unshare, "--map-root-user", ...flags, sh, "-c"];
    if (name === "pid-namespace") return [...spaced("--pid", "--fork", "--kill-child"), "[ $$ = 1 ]"];
    if (name === "network-namespace") return [...spaced("--net"), ":"];
    if (name === "ipc-namespace") return [...spaced("--ipc", "--uts"), ":"];
    if (name === "user-namespace") return [...spaced(), `exec ${unshare} --user ${sh} -c :`];
    if (mount === undefined) return "the program mount is not installed (util-linux)";
    if (mountPoint === undefined) return "how Node is loaded is not known on this machine";
    return [
      ...spaced("--mount"),
      `${mount} -c -a -T ${MOUNTS_FILE} && exec ${unshare} --user --root=${mountPoint} ${process.execPath} --version`,
    ];
  }

  /** Runs it in the probe's folder; answers what went wrong. */
  async #troubleOf(command: readonly string[]): Promise<string | undefined> {
    const end = await runToEnd({ command, cwd: this.#init.folder, timeoutMs: WALL_PROBE_MS_MAX });
    return end.exitCode === 0 ? undefined : describeEnd(end);
  }

  /** Starts a Node behind all of them and asks it what it sees. */
  async #tryTogether(walls: ReadonlySet<WallName>): Promise<string | undefined> {
    const { tools, folder, reads, mountPoint } = this.#init;
    const hasRoot = walls.has("file-system");
    const own = hasRoot ? `/${MOUNTS_FILE}` : join(folder, MOUNTS_FILE);
    const seen = [mountPoint === undefined ? folder : own, ...reads];
    const program = [process.execPath, "-e", LOOK, String(process.pid), ...seen];
    const command = walledCommand({ walls, tools, mountPoint, limits: LIMITS, program });
    const end = await runToEnd({ command, cwd: folder, timeoutMs: WALL_PROBE_MS_MAX });
    const sight = parseSight(end.stdout);
    if (sight === undefined) return describeEnd(end);
    if (!sight.readsItsOwn) return "what it may read cannot be reached";
    if (walls.has("pid-namespace") && (sight.pid !== 1 || sight.reachesOwner)) return "other processes are in reach";
    if (walls.has("network-namespace") && sight.interfaces > 0) return "the network is in reach";
    if (hasRoot && sight.seesFiles) return "the machine's files are in reach";
    if (walls.has("user-namespace") && sight.uid === 0) return "it is root";
    return undefined;
  }
}

async function findTools(): Promise<WallTools> {
  const [sh, setpriv, unshare, mount] = await Promise.all(["sh", "setpriv", "unshare", "mount"].map(findProgram));
  return { sh, setpriv, unshare, mount };
}

async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of FOLDERS) {
    const path = join(folder, name);
    const isThere = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  return undefined;
}

function parseSight(stdout: string): Sight | undefined {
  try {
    return JSON.parse(stdout) as Sight;
  } catch {
    return undefined;
  }
}
