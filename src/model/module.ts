/** What is known of a module without running it. */
import type { Digest } from "../base/ids.ts";

export type ModuleKind = "core" | "component";

export type ExternKind =
  "function" | "table" | "memory" | "global" | "tag" | "component" | "instance" | "type" | "module";

/** What an instance has that a component imports or exports. */
export interface InterfaceItem {
  readonly name: string;
  readonly kind: "function" | "type" | "other";
  /** The type of a function, `(u32)->list<string>` say, or what a type is. Undefined: it could not be followed. */
  readonly signature?: string | undefined;
}

export interface ModuleImport {
  /** The namespace of a core import, `wasi_snapshot_preview1` say. Empty for a component's import. */
  readonly module: string;
  /** The field, or a component import's whole name, `wasi:cli/environment@0.2.0` say. */
  readonly name: string;
  readonly kind: ExternKind;
  /** Of an imported function of a core module: its type, as `(i32,i32)->(i32)`. */
  readonly signature?: string | undefined;
  /** Of an instance. Null: its type could not be followed. Undefined: a version that did not try has read it. */
  readonly items?: readonly InterfaceItem[] | null | undefined;
}

export interface ModuleExport {
  readonly name: string;
  readonly kind: ExternKind;
  /** Of an exported function of a core module: its type, as `(i32,i32)->(i32)`. */
  readonly signature?: string | undefined;
  /** Of an instance that a component exports; see `ModuleImport`. */
  readonly items?: readonly InterfaceItem[] | null | undefined;
}

export interface MemoryType {
  readonly minPages: number;
  readonly maxPages?: number | undefined;
  readonly isShared: boolean;
  readonly is64: boolean;
  readonly isImported: boolean;
}

/** A table that the module defines. Imported ones are seen among its imports alone. */
export interface TableType {
  readonly minEntries: number;
  readonly maxEntries?: number | undefined;
}

/** A module's outside, read from its bytes without compiling them. */
export interface ModuleInspection {
  readonly kind: ModuleKind;
  readonly bytes: number;
  /** Bytes of code, all core modules of a component together: decides which kind of runner is best. */
  readonly codeBytes: number;
  readonly imports: readonly ModuleImport[];
  readonly exports: readonly ModuleExport[];
  readonly memories: readonly MemoryType[];
  readonly tables: readonly TableType[];
  readonly hasStartFunction: boolean;
  /** It defines garbage-collected types, whose values live in the engine's heap where no memory cap holds them. */
  readonly usesGc?: boolean | undefined;
}

/** A module that the blob store has. */
export interface StoredModule {
  readonly digest: Digest;
  readonly inspection: ModuleInspection;
  readonly createdAt: number;
}
