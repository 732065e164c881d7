/** `filestat` and file types as preview 1 lays them out, and the setting of times. */
import { ERRNO, refuse } from "../files/errno.ts";
import type { Inode } from "../files/file-tree.ts";
import type { GuestPowers } from "../files/powers.ts";
import type { Descriptor } from "./fd-table.ts";
import { encodeText } from "./guest-memory.ts";
import type { Preview1Host } from "./host.ts";

const FILE_TYPE = { UNKNOWN: 0, CHARACTER_DEVICE: 2, DIRECTORY: 3, REGULAR_FILE: 4, SYMBOLIC_LINK: 7 } as const;
const FST_FLAGS = { ATIM: 1, ATIM_NOW: 2, MTIM: 4, MTIM_NOW: 8 } as const;
const FILESTAT_BYTES = 64;
const FILESTAT_BYTES_UNSTABLE = 56;
const DEVICE = 1n;

/**
 * Output passes for a terminal, so that a C library writes it line by line and people see it while the guest runs;
 * stdin does not, so that no program waits for somebody to type.
 */
export function fileTypeOf(what: Descriptor | Inode): number {
  switch (what.kind) {
    case "stdin":
      return FILE_TYPE.UNKNOWN;
    case "output":
      return FILE_TYPE.CHARACTER_DEVICE;
    case "directory":
      return FILE_TYPE.DIRECTORY;
    case "symlink":
      return FILE_TYPE.SYMBOLIC_LINK;
    case "file":
      return FILE_TYPE.REGULAR_FILE;
  }
}

export function writeFilestat(host: Preview1Host, at: number, what: Descriptor | Inode): void {
  const { memory, isUnstable } = host;
  memory.slice(at, isUnstable ? FILESTAT_BYTES_UNSTABLE : FILESTAT_BYTES).fill(0);
  const inode = "inode" in what ? what.inode : what;
  const isStream = inode.kind === "stdin" || inode.kind === "output";
  memory.writeU64(at, DEVICE);
  memory.writeU8(at + 16, fileTypeOf(what));
  const links = isStream ? 1 : inode.links;
  if (isUnstable) memory.writeU32(at + 20, links);
  else memory.writeU64(at + 24, BigInt(links));
  if (isStream) return;
  const rest = at + (isUnstable ? 24 : 32);
  memory.writeU64(at + 8, inode.id);
  memory.writeU64(rest, BigInt(sizeOf(inode)));
  memory.writeU64(rest + 8, inode.accessedNs);
  memory.writeU64(rest + 16, inode.modifiedNs);
  memory.writeU64(rest + 24, inode.changedNs);
}

/** Sets the times that the flags ask for; two ways for one time at once are EINVAL. */
export function newTimes(
  powers: GuestPowers,
  inode: Inode,
  accessedNs: bigint,
  modifiedNs: bigint,
  flags: number,
): void {
  const { ATIM, ATIM_NOW, MTIM, MTIM_NOW } = FST_FLAGS;
  if ((flags & ~15) !== 0) refuse(ERRNO.INVAL);
  if ((flags & ATIM && flags & ATIM_NOW) || (flags & MTIM && flags & MTIM_NOW)) refuse(ERRNO.INVAL);
  const nowNs = powers.realtimeNs();
  if (flags & ATIM) inode.accessedNs = BigInt.asUintN(64, accessedNs);
  if (flags & ATIM_NOW) inode.accessedNs = nowNs;
  if (flags & MTIM) inode.modifiedNs = BigInt.asUintN(64, modifiedNs);
  if (flags & MTIM_NOW) inode.modifiedNs = nowNs;
  inode.changedNs = nowNs;
}

function sizeOf(inode: Inode): number {
  if (inode.kind === "file") return inode.size;
  if (inode.kind === "symlink") return encodeText(inode.target).length;
  return 0;
}
