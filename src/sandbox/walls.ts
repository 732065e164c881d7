/**
 * The walls that a machine can put around a process besides Node's own, and the command line that puts a program behind
 * them. All of them are made with programs that most Linux machines have (util-linux's `unshare`, `setpriv` and `mount`,
 * and a shell); none is needed, each is tried before it is relied on (`wall-probe.ts`), and what is not there is said.
 *
 * The command, outermost first, each part there only if its wall is up:
 *
 *     setpriv   another user than root, no new privileges, killed with its owner
 *     unshare   a user namespace of its own with PID, network, IPC and host name in it; stays, as the parent of what follows
 *     sh        mounts the few folders of the cell (`cell-root.ts`), sets resource limits, and says the process's real id
 *     unshare   a second user namespace, in which the program is nobody and has no capabilities, with the cell as its root
 *     program
 *
 * What is killed is the outermost process; the kernel then kills the innermost. Pure: this file starts nothing.
 */

export const WALL_NAMES = [
  "resource-limits",
  "no-new-privileges",
  "unprivileged-user",
  "user-namespace",
  "pid-namespace",
  "network-namespace",
  "ipc-namespace",
  "file-system",
] as const;

export type WallName = (typeof WALL_NAMES)[number];

export interface WallReport {
  readonly name: WallName;
  /** `not-needed`: what it would take away is not there to begin with. */
  readonly state: "up" | "absent" | "not-needed";
  /** Why it is not up; a sentence without a full stop. */
  readonly reason?: string | undefined;
}

/** The programs that build walls, by their paths; undefined: the machine has none in the usual places. */
export interface WallTools {
  readonly sh: string | undefined;
  readonly setpriv: string | undefined;
  readonly unshare: string | undefined;
  readonly mount: string | undefined;
}

/** Limits that the kernel holds for one process. */
export interface ProcessLimits {
  /** What it may have of writable memory of its own. Counted when it is made usable, not when it is touched. */
  readonly dataBytes: number;
  /** Open descriptors. */
  readonly descriptors: number;
  /** Processor time in all; undefined: no limit. */
  readonly cpuSeconds?: number | undefined;
}

export interface WalledCommandInit {
  readonly walls: ReadonlySet<WallName>;
  readonly tools: WallTools;
  /** Where the cell is mounted, for `file-system`. The command is to be started in the cell's folder. */
  readonly mountPoint: string | undefined;
  readonly limits: ProcessLimits;
  /** Its path and arguments. */
  readonly program: readonly string[];
}

/** Threads and processes of one user namespace. Node alone has a dozen. */
const PROCESSES_MAX = 32;
/** `nobody`, as every Linux has it. */
const NOBODY = 65_534;
const KIB = 1_024;
/** The file in a cell's folder that lists its mounts. */
export const MOUNTS_FILE = "fstab";
/** Exit code of the shell when the cell could not be mounted. */
const MOUNT_FAILED = 41;

/**
 * The program behind the walls. It gets one argument more: its process id as those see it who stand outside, or 0 where
 * that is the id of the process that was started.
 */
export function walledCommand({ walls, tools, mountPoint, limits, program }: WalledCommandInit): readonly string[] {
  const { sh, setpriv, unshare, mount } = tools;
  if (sh === undefined) return [...program, "0"];
  const hasUser = walls.has("user-namespace") && unshare !== undefined;
  const hasRoot = hasUser && walls.has("file-system") && mount !== undefined && mountPoint !== undefined;
  const lines: string[] = [];
  // What /proc shows here is still the machine's: the shell's real id, which the program keeps.
  lines.push(walls.has("pid-namespace") ? "read -r pid rest </proc/self/stat" : "pid=0");
  if (hasRoot) lines.push(`${mount} -c -a -T ${MOUNTS_FILE} || exit ${MOUNT_FAILED}`);
  // Files cannot be written from here on, which `mount` has to.
  if (walls.has("resource-limits")) lines.push(...limitLines(limits, hasUser));
  lines.push("unset PWD OLDPWD rest", 'exec "$@" "$pid"');
  const inner = hasUser ? [unshare, "--user", ...(hasRoot ? [`--root=${mountPoint}`] : [])] : [];
  const shell = [sh, "-c", lines.join("\n"), "sh", ...inner, ...program];
  const spaces = hasUser ? [unshare, ...namespaceFlags(walls, hasRoot)] : [];
  const privileges =
    walls.has("no-new-privileges") && setpriv !== undefined ? [setpriv, ...privilegeFlags(walls, hasUser)] : [];
  return [...privileges, ...spaces, ...shell];
}

/** One line each, so that a limit that is already lower, or that the machine does not know, costs none of the others. */
function limitLines({ dataBytes, descriptors, cpuSeconds }: ProcessLimits, hasUser: boolean): readonly string[] {
  const limits = ["-c 0", "-f 0", `-n ${descriptors}`, `-d ${Math.floor(dataBytes / KIB)}`];
  if (cpuSeconds !== undefined) limits.push(`-t ${cpuSeconds}`);
  const lines = limits.map((limit) => `ulimit ${limit} 2>/dev/null || :`);
  // In a user namespace of its own a process is counted alone; elsewhere all of its user's would be. Shells differ.
  if (hasUser) lines.push(`ulimit -u ${PROCESSES_MAX} 2>/dev/null || ulimit -p ${PROCESSES_MAX} 2>/dev/null || :`);
  return lines;
}

function namespaceFlags(walls: ReadonlySet<WallName>, hasRoot: boolean): readonly string[] {
  const flags = ["--map-root-user"];
  if (walls.has("pid-namespace")) flags.push("--pid", "--fork", "--kill-child");
  if (walls.has("network-namespace")) flags.push("--net");
  if (walls.has("ipc-namespace")) flags.push("--ipc", "--uts");
  if (hasRoot) flags.push("--mount");
  return flags;
}

function privilegeFlags(walls: ReadonlySet<WallName>, hasUser: boolean): readonly string[] {
  const flags: string[] = [];
  if (walls.has("unprivileged-user")) flags.push(`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups");
  // Root's powers: it needs them to make namespaces, in which they are lost anyway.
  if (!hasUser) flags.push("--inh-caps=-all");
  flags.push("--no-new-privs", "--pdeathsig=KILL");
  return flags;
}
