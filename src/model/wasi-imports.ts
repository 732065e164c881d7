/**
 * What a guest may import: the calls of WASI preview 1 by name and type, and of the interfaces of WASI 0.2 the functions and
 * types by the same (`wasi-interfaces.ts`). Sockets and
 * HTTP are not among them: nobody grants them. An import that is never called is judged like any other, since nobody
 * can tell. Pure.
 */
import { shortened } from "../base/wording.ts";
import type { ExternKind, ModuleImport, ModuleInspection } from "./module.ts";
import { GRANTED_INTERFACES } from "./wasi-interfaces.ts";

/** How many imports are named where several are wrong, and how much of each name is shown. */
const SHOWN_IMPORTS = 8;
const SHOWN_LENGTH = 100;

type ImportsResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** Whether a host of ours grants all that a module imports, under the types that it imports it with. */
export function checkImports(inspection: ModuleInspection): ImportsResult {
  const unknown = unknownImports(inspection);
  if (unknown.length > 0) {
    const names = unknown.slice(0, SHOWN_IMPORTS).map((name) => `\`${shortened(SHOWN_LENGTH, name)}\``);
    const more = unknown.length > names.length ? ` and ${unknown.length - names.length} more` : "";
    return {
      ok: false,
      reason: `it imports ${names.join(", ")}${more}, which nothing here provides: ${adviceOn(unknown)}`,
    };
  }
  if (inspection.kind === "component") {
    const wrong = inspection.imports.map(mistyped).find((reason) => reason !== undefined);
    return wrong === undefined ? { ok: true } : { ok: false, reason: wrong };
  }
  for (const { module, name, signature } of inspection.imports) {
    const expected = PREVIEW1_CALLS.get(name);
    if (signature === expected) continue;
    return {
      ok: false,
      reason:
        `its import \`${module}.${name}\` has the type ${signature ?? "of no function"}, ` +
        `and ${expected ?? "none"} is that call's`,
    };
  }
  return { ok: true };
}

/** The imports that no host of ours grants, by their names, each once. */
export function unknownImports(inspection: ModuleInspection): string[] {
  const unknown = new Set<string>();
  for (const imported of inspection.imports) {
    const { module, name, kind } = imported;
    if (inspection.kind === "component") {
      for (const text of unknownOfInterface(imported)) unknown.add(text);
    } else if (kind !== "function") {
      unknown.add(`${module}.${name} (${kind})`);
    } else if (!PREVIEW1_MODULES.has(module) || !PREVIEW1_CALLS.has(name)) {
      unknown.add(`${module}.${name}`);
    }
  }
  return [...unknown];
}

function adviceOn(unknown: readonly string[]): string {
  if (unknown.some((name) => /^wasi:(sockets|http)\//.test(name))) return "guests have no network";
  if (unknown.some((name) => name === "wasi.thread-spawn")) return "build it without threads";
  return "build it for plain WASI";
}

/** The interface itself, or what in it nobody provides. */
function unknownOfInterface({ name, kind, items }: ModuleImport): string[] {
  const granted = grantedInterface(name, kind);
  if (granted === undefined) return [kind === "instance" ? name : `${name} (${kind})`];
  return (items ?? []).flatMap((item) => {
    const known = item.kind === "function" ? granted.functions : item.kind === "type" ? granted.types : undefined;
    return known?.has(item.name) === true ? [] : [`${name}#${item.name}`];
  });
}

/** Why an interface that is granted is not taken under the types that it is imported with. */
function mistyped({ name, kind, items }: ModuleImport): string | undefined {
  const granted = grantedInterface(name, kind);
  if (items === null)
    return `what it imports of \`${shortened(SHOWN_LENGTH, name)}\` cannot be followed: build it with a current toolchain`;
  for (const item of items ?? []) {
    const expected = (item.kind === "function" ? granted?.functions : granted?.types)?.get(item.name);
    if (item.signature === expected) continue;
    const found =
      item.signature === undefined ? "cannot be followed" : `is \`${shortened(SHOWN_LENGTH, item.signature)}\``;
    const whole = shortened(SHOWN_LENGTH, `${name}#${item.name}`);
    return `the type of its import \`${whole}\` ${found}, and \`${shortened(SHOWN_LENGTH, expected ?? "none")}\` is what it has here`;
  }
  return undefined;
}

function grantedInterface(name: string, kind: ExternKind): ReturnType<typeof GRANTED_INTERFACES.get> {
  const match = kind === "instance" ? INTERFACE.exec(name) : null;
  return GRANTED_INTERFACES.get(match?.[1] ?? "");
}

const INTERFACE = /^(wasi:[a-z]+\/[a-z0-9-]+)@0\.2\.\d+$/;

/** The older name has the same calls under the same types, and is how WASI's first compilers called it. */
const PREVIEW1_MODULES: ReadonlySet<string> = new Set(["wasi_snapshot_preview1", "wasi_unstable"]);

/** Parameters of each call: `i` an i32, `I` an i64. All answer an error number but `proc_exit`, which never returns. */
const PREVIEW1_PARAMETERS = {
  args_get: "ii",
  args_sizes_get: "ii",
  clock_res_get: "ii",
  clock_time_get: "iIi",
  environ_get: "ii",
  environ_sizes_get: "ii",
  fd_advise: "iIIi",
  fd_allocate: "iII",
  fd_close: "i",
  fd_datasync: "i",
  fd_fdstat_get: "ii",
  fd_fdstat_set_flags: "ii",
  fd_fdstat_set_rights: "iII",
  fd_filestat_get: "ii",
  fd_filestat_set_size: "iI",
  fd_filestat_set_times: "iIIi",
  fd_pread: "iiiIi",
  fd_prestat_dir_name: "iii",
  fd_prestat_get: "ii",
  fd_pwrite: "iiiIi",
  fd_read: "iiii",
  fd_readdir: "iiiIi",
  fd_renumber: "ii",
  fd_seek: "iIii",
  fd_sync: "i",
  fd_tell: "ii",
  fd_write: "iiii",
  path_create_directory: "iii",
  path_filestat_get: "iiiii",
  path_filestat_set_times: "iiiiIIi",
  path_link: "iiiiiii",
  path_open: "iiiiiIIii",
  path_readlink: "iiiiii",
  path_remove_directory: "iii",
  path_rename: "iiiiii",
  path_symlink: "iiiii",
  path_unlink_file: "iii",
  poll_oneoff: "iiii",
  proc_exit: "i",
  proc_raise: "i",
  random_get: "ii",
  sched_yield: "",
  sock_accept: "iii",
  sock_recv: "iiiiii",
  sock_send: "iiiii",
  sock_shutdown: "ii",
} as const;

/** The type of each call, as `(i32,i64)->(i32)`. A map, so that `__proto__` and its like are no calls. */
export const PREVIEW1_CALLS: ReadonlyMap<string, string> = new Map(
  Object.entries(PREVIEW1_PARAMETERS).map(([name, parameters]) => {
    const types = Array.from(parameters, (letter) => (letter === "i" ? "i32" : "i64"));
    return [name, `(${types.join(",")})->(${name === "proc_exit" ? "" : "i32"})`];
  }),
);
