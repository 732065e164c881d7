/**
 * The cap that the machine puts on the memory of this process and all it starts, by its cgroup (v2): what a service
 * manager or a container sets. The smallest of those above it counts.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";

export interface MemoryCapPlaces {
  /** Where the kernel tells of cgroups, and of this process's. */
  readonly mount: string;
  readonly self: string;
}

const MACHINE: MemoryCapPlaces = { mount: "/sys/fs/cgroup", self: "/proc/self/cgroup" };

export type MemoryCap =
  | { readonly kind: "capped"; readonly bytes: number }
  /** Nothing caps it, or nothing can. */
  | { readonly kind: "none"; readonly reason: string };

/** Never rejects. */
export async function findMemoryCap({ mount, self }: MemoryCapPlaces = MACHINE): Promise<MemoryCap> {
  const own = /^0::(\/.*)$/m.exec(await read(self))?.[1];
  if (own === undefined) return { kind: "none", reason: "this machine has no cgroups of version 2" };
  const controllers = await read(join(mount, "cgroup.controllers"));
  if (!controllers.split(/\s+/).includes("memory")) {
    return { kind: "none", reason: "this machine's cgroups of version 2 do not hold memory" };
  }
  let bytes = Infinity;
  for (let path = own; ; path = dirname(path)) {
    const limit = (await read(join(mount, path, "memory.max"))).trim();
    if (/^\d+$/.test(limit)) bytes = Math.min(bytes, Number(limit));
    if (path === dirname(path)) break;
  }
  if (bytes < Infinity) return { kind: "capped", bytes };
  return { kind: "none", reason: "no cgroup of this process limits its memory" };
}

function read(path: string): Promise<string> {
  return readFile(path, "utf8").catch(() => "");
}
