/**
 * What `capmesh doctor` looks at on this machine: whether a gateway and a worker can run here, and what holds their
 * guests. Each looks without changing anything that stays; none rejects.
 */
import { randomUUID } from "node:crypto";
import { createSocket } from "node:dgram";
import { access, mkdtemp, realpath, rm, stat, statfs, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { DISK_BYTES_LITTLE, DISK_BYTES_MIN } from "../base/limits.ts";
import { silentLog } from "../base/log.ts";
import { GATEWAY_PORT_DEFAULT } from "../net/listen-addresses.ts";
import { findMemoryCap } from "../sandbox/memory-cap.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import type { WallName, WallReport } from "../sandbox/walls.ts";
import type { Check } from "./check.ts";
import type { Config } from "./config.ts";

const NODE_MAJOR_MIN = 26;
const GIB = 1_073_741_824;
/** Nobody ran this before then: a clock that says so is wrong. */
const EARLIEST_MS = Date.UTC(2026, 0, 1);
const OTHERS_MAY = 0o077;
const MULTICAST_GROUP = "224.0.0.251";
const MULTICAST_PORT = 5_353;

/** Where a gateway, or `up`, keeps what must survive it. */
function dataFolderOf(config: Config): string {
  return config.data ?? join(config.dataHome, "gateway");
}

export async function checkMachine(config: Config, now: number): Promise<readonly Check[]> {
  const data = dataFolderOf(config);
  const [dataCheck, disk, http, peers, multicast, walls, memory] = await Promise.all([
    checkData(data),
    checkDisk(data),
    checkPort("http-port", config.http.port, config.http.host, "--http 127.0.0.1:0 takes any free one"),
    checkPort("peer-port", GATEWAY_PORT_DEFAULT, "0.0.0.0", "a gateway takes another, and keeps that"),
    checkMulticast(config),
    checkWalls(data),
    checkMemoryCap(),
  ]);
  return [checkNode(), dataCheck, disk, checkClock(now), http, peers, multicast, ...walls, memory];
}

function checkNode(): Check {
  const { node } = process.versions;
  if (Number(node.split(".")[0]) >= NODE_MAJOR_MIN) return { name: "node", state: "ok", found: node };
  const advice = `start it with npx capmesh, which brings Node ${NODE_MAJOR_MIN} with it`;
  return { name: "node", state: "fail", found: `${node}, and ${NODE_MAJOR_MIN} is needed`, advice };
}

async function checkData(folder: string): Promise<Check> {
  const name = "data-directory";
  const existing = await nearestFolder(folder);
  const probe = join(existing, `.capmesh-doctor-${randomUUID()}`);
  try {
    await writeFile(probe, "", { flag: "wx", mode: 0o600 });
  } catch (error) {
    const advice = "make it writable for this user, or give another with --data <dir>";
    return { name, state: "fail", found: `${existing} cannot be written to: ${messageOf(error)}`, advice };
  } finally {
    await rm(probe, { force: true }).catch(() => {});
  }
  if (existing !== folder) return { name, state: "ok", found: `${folder}, which will be made` };
  const { mode } = await stat(folder);
  if ((mode & OTHERS_MAY) === 0) return { name, state: "ok", found: folder };
  return {
    name,
    state: "warn",
    found: `${folder} is open to other users of this machine (mode ${(mode & 0o777).toString(8)})`,
    advice: `chmod 700 ${folder}`,
  };
}

async function checkDisk(folder: string): Promise<Check> {
  const name = "disk-space";
  const existing = await nearestFolder(folder);
  try {
    const { bavail, bsize, files, ffree } = await statfs(existing);
    const bytes = bavail * bsize;
    const advice = "make room, or give a folder on another disk with --data <dir>";
    // File systems that make inodes as they need them tell of none.
    if (files > 0 && ffree === 0) return { name, state: "fail", found: `${existing}: no inode is free`, advice };
    const found = `${gib(bytes)} GiB free at ${existing}`;
    if (bytes < DISK_BYTES_MIN) return { name, state: "fail", found, advice };
    return bytes < DISK_BYTES_LITTLE ? { name, state: "warn", found, advice } : { name, state: "ok", found };
  } catch (error) {
    return { name, state: "warn", found: `cannot be told: ${messageOf(error)}` };
  }
}

function checkClock(now: number): Check {
  const found = new Date(now).toISOString();
  if (now >= EARLIEST_MS) return { name: "clock", state: "ok", found };
  const advice = "set it, and have it kept right: timedatectl set-ntp true";
  return { name: "clock", state: "fail", found: `it is not ${found}`, advice };
}

async function checkPort(name: string, port: number, host: string, otherwise: string): Promise<Check> {
  if (port === 0) return { name, state: "ok", found: "any free one" };
  const trouble = await listenOnce(host, port);
  if (trouble === undefined) return { name, state: "ok", found: `${port} is free` };
  if (trouble === "EADDRINUSE") {
    const advice = `if that is not your gateway: stop it, or choose another; ${otherwise}`;
    return { name, state: "warn", found: `${port} is taken`, advice };
  }
  const advice = "choose an address of this machine, and a port above 1023";
  return { name, state: "fail", found: `${host}:${port} cannot be bound: ${trouble}`, advice };
}

function listenOnce(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port }, () => server.close(() => resolve(undefined)));
  });
}

async function checkMulticast(config: Config): Promise<Check> {
  const name = "multicast";
  if (!config.mdns) return { name, state: "ok", found: "switched off: peers are dialled by their addresses" };
  const trouble = await routeTrouble();
  if (trouble === undefined) return { name, state: "ok", found: "there is a route for it" };
  const external = Object.entries(networkInterfaces()).find(([, own]) =>
    own?.some(({ family, internal }) => family === "IPv4" && !internal),
  );
  const advice =
    external === undefined
      ? "connect a network, or dial peers by their addresses"
      : `ip route add 224.0.0.0/4 dev ${external[0]}, or dial peers by their addresses`;
  return { name, state: "warn", found: `peers are not found by themselves: ${trouble}`, advice };
}

/** Asks the kernel for the way there; nothing is sent. */
function routeTrouble(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const end = (trouble: string | undefined): void => {
      socket.close();
      resolve(trouble);
    };
    socket.once("error", (error) => end(messageOf(error)));
    socket.connect(MULTICAST_PORT, MULTICAST_GROUP, () => end(undefined));
  });
}

const WALL_ADVICE: Readonly<Record<WallName, string>> = {
  "resource-limits": "have a /bin/sh that knows ulimit",
  "no-new-privileges": "install util-linux",
  "unprivileged-user": "run it as a user of its own, who is not root",
  "user-namespace":
    "allow user namespaces: sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
  "pid-namespace":
    "allow user namespaces, with util-linux 2.34 or newer: until then a runner that gets out of Node could signal others",
  "network-namespace": "allow user namespaces: until then Node alone keeps guests off the network",
  "ipc-namespace": "allow user namespaces",
  "file-system":
    "allow user namespaces, with util-linux 2.34 or newer: until then Node alone keeps guests off the files",
};

async function checkWalls(dataFolder: string): Promise<readonly Check[]> {
  const parent = await nearestFolder(dataFolder);
  const isWritable = await access(parent, 2).then(
    () => true,
    () => false,
  );
  try {
    const scratchFolder = await mkdtemp(join(await realpath(isWritable ? parent : tmpdir()), ".capmesh-doctor-"));
    try {
      const { reports } = await Sandbox.open({ scratchFolder, log: silentLog });
      return reports.map(wallCheck);
    } finally {
      await rm(scratchFolder, { recursive: true, force: true });
    }
  } catch (error) {
    return [{ name: "wall", state: "warn", found: `the walls around guests cannot be tried: ${messageOf(error)}` }];
  }
}

function wallCheck({ name, state, reason }: WallReport): Check {
  const check = `wall-${name}`;
  if (state === "up") return { name: check, state: "ok", found: "up" };
  if (state === "not-needed") return { name: check, state: "ok", found: `not needed: ${reason}` };
  return { name: check, state: "warn", found: `absent: ${reason}`, advice: WALL_ADVICE[name] };
}

async function checkMemoryCap(): Promise<Check> {
  const name = "wall-memory-cgroup";
  const cap = await findMemoryCap();
  if (cap.kind === "capped") {
    return { name, state: "ok", found: `up: ${gib(cap.bytes)} GiB for this process and all it starts` };
  }
  const advice =
    "each guest has its own cap all the same; for one on all together: MemoryMax= of systemd, or docker --memory";
  return { name, state: "warn", found: `absent: ${cap.reason}`, advice };
}

/** The folder itself, or the nearest above it that is there. */
async function nearestFolder(folder: string): Promise<string> {
  for (let path = folder; ; path = dirname(path)) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() === true || path === dirname(path)) return path;
  }
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(1);
}
