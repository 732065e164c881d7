/** The C++ programs: built once per run, into a folder of their own, and started. */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const FOLDER = fileURLToPath(new URL("./", import.meta.url));

/** Why the programs cannot be built here; undefined when they can. */
export const missing: string | undefined = findMissing();

function findMissing(): string | undefined {
  const absent = [
    ["capnp", "--version"],
    ["c++", "--version"],
    ["pkg-config", "--exists", "capnp-rpc"],
  ].filter(([program = "", ...args]) => spawnSync(program, args).status !== 0);
  if (absent.length === 0) return undefined;
  return `not there: ${absent.map((command) => command.join(" ")).join(", ")} (Debian: capnproto libcapnp-dev g++ pkg-config)`;
}

export interface Programs extends AsyncDisposable {
  /** A temporary folder; sockets may go there. */
  readonly folder: string;
  /** The path of a program's executable. */
  readonly path: (name: string) => string;
}

/** Builds `<name>.c++` of the folder of this file, or at the given paths, each with interop.capnp. */
export async function buildPrograms(sources: readonly string[], { optimise = "-O1" } = {}): Promise<Programs> {
  const folder = await mkdtemp(join(tmpdir(), "interop-"));
  const dispose = () => rm(folder, { recursive: true, force: true });
  try {
    const flags = ["-std=c++17", optimise, "-I", folder, "-I", FOLDER];
    const cxx = (...args: string[]) => run("c++", [...flags, ...args], { cwd: folder });
    await run("capnp", ["compile", `-oc++:${folder}`, `--src-prefix=${FOLDER}`, join(FOLDER, "interop.capnp")]);
    const { stdout } = await run("pkg-config", ["--libs", "capnp-rpc"]);
    const libraries = stdout.trim().split(/\s+/);
    const schema = cxx("-c", "interop.capnp.c++", "-o", "schema.o");
    await Promise.all([
      schema,
      ...sources.map(async (source) => {
        const name = programName(source);
        await cxx("-c", join(FOLDER, source), "-o", `${name}.o`);
        await schema;
        await cxx(`${name}.o`, "schema.o", "-o", name, ...libraries);
      }),
    ]);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { folder, path: (name) => join(folder, name), [Symbol.asyncDispose]: dispose };
}

function programName(source: string): string {
  return source.replace(/^.*\//, "").replace(/\.c\+\+$/, "");
}

/** A process that says on its first line that it is ready. Killed when it is disposed. */
export class Program implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #output = "";

  constructor(command: string, args: readonly string[]) {
    this.child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#exited = once(this.child, "close");
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.#output += text));
  }

  /** Its first line. Rejects when it ends without. */
  async firstLine(): Promise<string> {
    const { stdout } = this.child;
    if (stdout === null) throw new Error("the process has no output");
    for await (const line of createInterface({ input: stdout })) return line;
    throw new Error(`the process ended: ${await this.exited()}`);
  }

  /** What it had to say, and how it ended, once it has: "" when all is well. */
  async exited(): Promise<string> {
    await this.#exited;
    const { exitCode, signalCode } = this.child;
    return exitCode === 0 ? "" : `${signalCode ?? exitCode}: ${this.#output}`;
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.kill();
  }
}
