/**
 * Entry of a disposable process that turns one component into JavaScript and core modules with jco, on behalf of the
 * pool, which gives it the component on stdin and takes the parts from fd 3 in `component-parts.ts`'s format. The
 * argument is where jco is. The component is a stranger's and jco a large program: so it gets a process, the permission
 * model, a time limit, and its output is only ever run in a runner.
 */
import { writeSync } from "node:fs";
import { registerHooks } from "node:module";
import process from "node:process";
import { TRANSPILED_GLUE_BYTES_MAX } from "../../../base/limits.ts";
import { encodeComponentParts, tooMuchGlue } from "../component-parts.ts";

const PARTS_FD = 3;
/** Exit code for a component that jco refuses; the reason is on stderr. Whatever else goes wrong has another. */
const REFUSED = 2;

interface Transpiler {
  transpile(
    component: Uint8Array,
    options: Readonly<Record<string, unknown>>,
  ): Promise<{ files: [string, Uint8Array][] }>;
}

function parseTranspiler(loaded: unknown): Transpiler {
  return loaded as Transpiler;
}

/** As a stream: what is loaded besides may set the pipe not to block, and a plain read of it would then fail. */
async function readStdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(parseChunk(chunk));
  return new Uint8Array(Buffer.concat(chunks));
}

function parseChunk(chunk: unknown): Uint8Array {
  return chunk as Uint8Array;
}

/** Nobody else knows of this pipe, so that it blocks. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let sent = 0; sent < bytes.length;) sent += writeSync(fd, bytes, sent);
}

/** Errors of the system (a file that cannot be opened) and the engine (no memory): they say nothing of the component. */
function isOfMachine(thrown: unknown): boolean {
  return thrown instanceof RangeError || (thrown instanceof Error && "syscall" in thrown);
}

function refuse(reason: string): void {
  process.exitCode = REFUSED;
  process.stderr.write(reason);
}

// jco's own modules stand on WASI too, and take a host that starts threads and opens files where they see Node. Here they
// get the one for browsers, which does neither.
registerHooks({
  resolve: (specifier, context, nextResolve) =>
    nextResolve(specifier, { ...context, conditions: context.conditions.filter((condition) => condition !== "node") }),
});

const jco = parseTranspiler(await import(process.argv[2] ?? ""));
const component = await readStdin();
const made = await jco
  .transpile(component, {
    name: "guest",
    instantiation: { tag: "sync" },
    noTypescript: true,
    noNodejsCompat: true,
    noNamespacedExports: true,
    map: [],
  })
  .catch((thrown: unknown) => {
    if (isOfMachine(thrown)) throw thrown;
    refuse(thrown instanceof Error ? thrown.message : String(thrown));
  });
if (made !== undefined) {
  const glueBytes = made.files.reduce((sum, [name, { length }]) => (name.endsWith(".js") ? sum + length : sum), 0);
  if (glueBytes > TRANSPILED_GLUE_BYTES_MAX) refuse(tooMuchGlue(glueBytes));
  else writeAll(PARTS_FD, encodeComponentParts(made.files));
}
