/** What the calls of one run share. One is made per run and thrown away after it. */
import type { FileTree } from "../files/file-tree.ts";
import type { GuestPowers } from "../files/powers.ts";
import type { FdTable } from "./fd-table.ts";
import type { GuestMemory } from "./guest-memory.ts";

export interface Preview1Host {
  readonly memory: GuestMemory;
  readonly fds: FdTable;
  readonly tree: FileTree;
  readonly powers: GuestPowers;
  /**
   * These calls were imported from `wasi_unstable`, the name under which the first compilers knew them. Three things are laid
   * out differently there: `fd_seek` numbers its starting points otherwise, `filestat` counts links in 32 bits, and a
   * poll subscription is wider.
   */
  readonly isUnstable: boolean;
  /** argv, the program's own name first, in UTF-8 and without the closing NUL. */
  readonly args: readonly Uint8Array[];
  /** `KEY=VALUE`, the same way. */
  readonly env: readonly Uint8Array[];
  /** Ends the guest; never returns. */
  exit(code: number): never;
  /** Ends the guest as if by a signal; never returns. */
  raise(signal: number): never;
}
