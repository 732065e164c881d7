/** The C++ worker and client of this folder: built once, with the schemas of the project, into a folder of their own. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const FOLDER = fileURLToPath(new URL("./", import.meta.url));
const SCHEMAS = fileURLToPath(new URL("../../../schema/", import.meta.url));

/** Why the programs cannot be built here; undefined when they can. */
export const missing: string | undefined = findMissing();

function findMissing(): string | undefined {
  const absent = [
    ["capnp", "--version"],
    ["capnpc-c++", "--version"],
    ["c++", "--version"],
    ["pkg-config", "--exists", "capnp-rpc"],
  ].filter(([program = "", ...args]) => spawnSync(program, args).status !== 0);
  if (absent.length === 0) return undefined;
  return `not there: ${absent.map((command) => command.join(" ")).join(", ")} (Debian: capnproto libcapnp-dev g++ pkg-config)`;
}

export interface ForeignPrograms extends AsyncDisposable {
  readonly worker: string;
  readonly client: string;
}

export async function buildForeignPrograms(): Promise<ForeignPrograms> {
  const folder = await mkdtemp(join(tmpdir(), "foreign-"));
  const dispose = () => rm(folder, { recursive: true, force: true });
  try {
    const names = (await readdir(SCHEMAS)).filter((name) => name.endsWith(".capnp"));
    await run("capnp", [
      "compile",
      `-oc++:${folder}`,
      `--src-prefix=${SCHEMAS}`,
      ...names.map((name) => SCHEMAS + name),
    ]);
    const { stdout } = await run("pkg-config", ["--libs", "capnp-rpc"]);
    const libraries = stdout.trim().split(/\s+/);
    const cxx = (...args: string[]) => run("c++", ["-std=c++17", "-I", folder, "-I", FOLDER, ...args], { cwd: folder });
    const objectOf = async (source: string): Promise<string> => {
      const object = `${source.replace(/^.*\//, "")}.o`;
      await cxx("-c", source, "-o", object);
      return object;
    };
    const [worker = "", client = "", ...schemas] = await inPairs(
      [`${FOLDER}worker.c++`, `${FOLDER}client.c++`, ...names.map((name) => `${name}.c++`)],
      objectOf,
    );
    await cxx(worker, ...schemas, "-o", "worker", ...libraries);
    await cxx(client, ...schemas, "-o", "client", ...libraries);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { worker: join(folder, "worker"), client: join(folder, "client"), [Symbol.asyncDispose]: dispose };
}

/** Two compilers at once: each takes a core, and memory. */
async function inPairs(sources: readonly string[], compile: (source: string) => Promise<string>): Promise<string[]> {
  const objects: string[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < sources.length; index = next++) {
      objects[index] = await compile(sources[index] ?? "");
    }
  };
  await Promise.all([lane(), lane()]);
  return objects;
}
