/**
 * Entry of a disposable process that turns one component into JavaScript and core modules with jco, on behalf of the
 * pool, which gives it the component on stdin and takes the parts from fd 3 in `component-parts.ts`'s format. The
 * argument is where jco is. The component is a stranger's and jco a large program: so it gets a process, the permission
 * model, a time limit, and its output is only ever run in a runner.
 */
import { readSync, writeSync } from "node:fs";
import { registerHooks } from "node:module";
import process from "node:process";
import { encodeComponentParts } from "../component-parts.ts";

const STDIN_FD = 0;
const STDERR_FD = 2;
const PARTS_FD = 3;
const READ_BYTES = 1_048_576;
/** Exit code for a component that jco refuses; the reason is on stderr. */
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

function readAll(fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = new Uint8Array(READ_BYTES);
    const count = readSync(fd, chunk);
    if (count === 0) return concat(chunks);
    chunks.push(chunk.subarray(0, count));
  }
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let sent = 0; sent < bytes.length;) sent += writeSync(fd, bytes, sent);
}

// jco's own modules stand on WASI too, and take a host that starts threads and opens files where they see Node. Here they
// get the one for browsers, which does neither.
registerHooks({
  resolve: (specifier, context, nextResolve) =>
    nextResolve(specifier, { ...context, conditions: context.conditions.filter((condition) => condition !== "node") }),
});

const jco = parseTranspiler(await import(process.argv[2] ?? ""));
try {
  const { files } = await jco.transpile(readAll(STDIN_FD), {
    name: "guest",
    instantiation: { tag: "sync" },
    noTypescript: true,
    noNodejsCompat: true,
    noNamespacedExports: true,
    map: [],
  });
  writeAll(PARTS_FD, encodeComponentParts(files));
} catch (thrown) {
  writeAll(STDERR_FD, new TextEncoder().encode(thrown instanceof Error ? thrown.message : String(thrown)));
  process.exitCode = REFUSED;
}
