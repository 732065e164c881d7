import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { TRANSPILER_DATA_BYTES_MAX, TRANSPILER_DESCRIPTORS_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { decodeComponentParts } from "../../../src/worker/runner/component-parts.ts";

const REFUSED = 2;

/** It touches stdin while it is loaded, as large programs do, and reading that no longer blocks. */
const repeating = `
  process.stdin.isTTY;
  process.stderr.write("loaded.");
  export const transpile = async (bytes) => ({ files: [["guest.js", new Uint8Array(1)], ["guest.core.wasm", bytes]] });
`;

const throwing = (thrown: string) => `
  process.stderr.write("loaded.");
  export const transpile = async () => { throw ${thrown}; };
`;

interface Ended {
  readonly exitCode: number | null;
  readonly said: string;
  readonly parts: Uint8Array;
}

/** Runs the process with a transpiler of that source, which says when it is loaded; only then the pieces are sent. */
async function transpileWith(source: string, pieces: readonly Uint8Array[]): Promise<Ended> {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-transpile-process-"));
  try {
    const sandbox = await Sandbox.open({ scratchFolder: folder, log: silentLog, walls: [] });
    const cell = await sandbox.openCell({ entry: "worker/runner/child/transpile" });
    const transpiler = `data:text/javascript,${encodeURIComponent(source)}`;
    const child = cell.spawn({
      flags: ["--no-warnings"],
      args: [transpiler],
      stdio: ["pipe", "ignore", "pipe", "pipe"],
      limits: { dataBytes: TRANSPILER_DATA_BYTES_MAX, descriptors: TRANSPILER_DESCRIPTORS_MAX },
    });
    const { stdin, stderr, parts } = parseStdio(child.stdio);
    stdin.on("error", () => {});
    let said = "";
    stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
    const encoded = buffer(parts);
    const closed = once(child, "close");
    await Promise.race([once(stderr, "data"), closed]);
    for (const piece of pieces) await new Promise((resolve) => stdin.write(piece, resolve));
    stdin.end();
    await closed;
    return { exitCode: child.exitCode, said, parts: await encoded };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function parseStdio(stdio: readonly unknown[]): { stdin: Writable; stderr: Readable; parts: Readable } {
  const [stdin, , stderr, parts] = stdio;
  return { stdin: stdin as Writable, stderr: stderr as Readable, parts: parts as Readable };
}

describe("the process that transpiles", () => {
  test("waits for a component that comes late and in pieces, whatever was done to its stdin", async () => {
    const pieces = Array.from({ length: 5 }, (_, index) => new Uint8Array(300_000).fill(index));
    const { exitCode, parts, said } = await transpileWith(repeating, pieces);
    expect([exitCode, said]).toEqual([0, "loaded."]);
    const bytes = decodeComponentParts(parts)?.cores[0]?.bytes;
    expect(Buffer.concat(pieces).equals(bytes ?? new Uint8Array(0))).toBe(true);
  });

  test("says by its exit code that a component is refused, and why", async () => {
    const { exitCode, said } = await transpileWith(throwing('new Error("not a component")'), [new Uint8Array(10)]);
    expect([exitCode, said]).toEqual([REFUSED, "loaded.not a component"]);
  });

  test.each([
    [
      "a file that cannot be opened",
      throwing('Object.assign(new Error("EMFILE"), { code: "EMFILE", syscall: "open" })'),
    ],
    ["memory that is not given", throwing('new RangeError("Array buffer allocation failed")')],
    ["a transpiler that gives no files", 'process.stderr.write("loaded."); export const transpile = async () => ({});'],
    ["a transpiler that does not load", 'throw new Error("broken")'],
  ])("does not take %s for a refusal", async (_what, source) => {
    const { exitCode } = await transpileWith(source, [new Uint8Array(10)]);
    expect([0, REFUSED]).not.toContain(exitCode);
  });
});
