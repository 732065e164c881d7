import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { INSPECTIONS_AT_ONCE_MAX, INSPECTIONS_WAITING_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { Inspector, type InspectorInit } from "../../src/inspect/inspector.ts";
import { inspectModule } from "../../src/model/wasm-inspect.ts";
import type { Cell, CellSpawn } from "../../src/sandbox/cell.ts";
import { Sandbox } from "../../src/sandbox/sandbox.ts";
import { guestBytes } from "../support/guests.ts";
import { buildWasm } from "../support/wasm-builder.ts";

const hash = guestBytes("hash");
const component = guestBytes("component");

let folder: string;
let sandbox: Sandbox;
/** Processes that any of the tests started. */
let started = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "capmesh-inspect-"));
  sandbox = await Sandbox.open({ scratchFolder: join(folder, "scratch"), log: silentLog });
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Opens the cell as it is, with what `alter` makes of each start. */
function openWith(
  alter: (spawn: CellSpawn) => CellSpawn,
  init: Partial<InspectorInit> = {},
  onStart: (child: ChildProcess) => void = () => {},
): Inspector {
  const openCell = async (plan: Parameters<Sandbox["openCell"]>[0]): Promise<Cell> => {
    const cell = await sandbox.openCell(plan);
    const spawn = cell.spawn.bind(cell);
    cell.spawn = (wanted) => {
      started++;
      const child = spawn(alter(wanted));
      onStart(child);
      return child;
    };
    return cell;
  };
  return new Inspector({ openSandbox: async () => ({ openCell }), clock: systemClock, log: silentLog, ...init });
}

const openInspector = (init?: Partial<InspectorInit>, onStart?: (child: ChildProcess) => void): Inspector =>
  openWith((spawn) => spawn, init, onStart);

/** A process that runs `source` in place of the inspection. */
const openFaulty = (source: string, init?: Partial<InspectorInit>): Inspector =>
  openWith((spawn) => ({ ...spawn, flags: [...spawn.flags, "--eval", source] }), init);

const READY = `const fs = process.getBuiltinModule("fs"); fs.writeSync(4, Uint8Array.of(1, 0, 0, 0, 0));`;
const TAKE_ONE = `fs.readSync(3, new Uint8Array(65536));`;

describe("an inspector", () => {
  test("says what the parser says, of bytes and of files", async () => {
    await using inspector = openInspector();
    const path = join(folder, "component.wasm");
    await writeFile(path, component);
    expect(await inspector.inspectBytes(hash)).toEqual(inspectModule(hash));
    expect(await inspector.inspectFile(path)).toEqual(inspectModule(component));
  });

  test("says why something is no module", async () => {
    await using inspector = openInspector();
    expect(await inspector.inspectBytes(new TextEncoder().encode("#!/bin/sh"))).toEqual(
      inspectModule(new TextEncoder().encode("#!/bin/sh")),
    );
    expect(await inspector.inspectBytes(new Uint8Array(0))).toMatchObject({ ok: false });
  });

  test("passes on a verdict that is far longer than a frame", async () => {
    const functions = Array.from({ length: 5_000 }, (_, index) => ({ export: `${"f".repeat(100)}${index}`, body: [] }));
    const wide = buildWasm({ functions });
    await using inspector = openInspector();
    const verdict = await inspector.inspectBytes(wide);
    expect(verdict.ok && verdict.inspection.exports.length).toBe(5_000);
  });

  test("takes many at once, and tells them apart", async () => {
    await using inspector = openInspector({ modulesPerProcess: 10 });
    const modules = Array.from({ length: 50 }, (_, index) => (index % 3 === 0 ? component : hash));
    const verdicts = await Promise.all(modules.map((module) => inspector.inspectBytes(module)));
    expect(verdicts).toEqual(modules.map((module) => inspectModule(module)));
  });

  test("has one process, until that has read enough", async () => {
    started = 0;
    await using inspector = openInspector({ modulesPerProcess: 4 });
    for (let count = 0; count < 8; count++) expect((await inspector.inspectBytes(hash)).ok).toBe(true);
    // The third is warm for whoever comes next.
    await expect.poll(() => started).toBe(3);
  });

  test("reads each module once, and replaces its process after each if it is to", async () => {
    started = 0;
    await using inspector = openInspector({ modulesPerProcess: 1 });
    for (let count = 0; count < 2; count++) expect((await inspector.inspectBytes(hash)).ok).toBe(true);
    await expect.poll(() => started).toBe(3);
  });

  test("has one successor for a process that is gone, however many come for it", async () => {
    started = 0;
    const children: ChildProcess[] = [];
    await using inspector = openInspector({}, (child) => children.push(child));
    expect((await inspector.inspectBytes(hash)).ok).toBe(true);
    const [first] = children;
    first?.kill("SIGKILL");
    if (first !== undefined) await once(first, "close");
    const verdicts = await Promise.all(Array.from({ length: 8 }, () => inspector.inspectBytes(hash)));
    expect(verdicts.every(({ ok }) => ok)).toBe(true);
    expect(started).toBe(2);
  });

  test("tries again after its cell could not be opened", async () => {
    let tries = 0;
    const openCell: Sandbox["openCell"] = (plan) =>
      tries++ === 0 ? Promise.reject(new Error("no space left on device")) : sandbox.openCell(plan);
    await using inspector = new Inspector({
      openSandbox: async () => ({ openCell }),
      clock: systemClock,
      log: silentLog,
    });
    await expect(inspector.version()).rejects.toThrow("no space");
    expect((await inspector.inspectBytes(hash)).ok).toBe(true);
  });

  test("is told of a file that is not there", async () => {
    await using inspector = openInspector();
    await expect(inspector.inspectFile(join(folder, "nothing"))).rejects.toMatchObject({ code: "ENOENT" });
    expect((await inspector.inspectBytes(hash)).ok).toBe(true);
  });

  test("lets go of who no longer waits", async () => {
    await using inspector = openInspector();
    const abort = new AbortController();
    const first = Array.from({ length: INSPECTIONS_AT_ONCE_MAX }, () => inspector.inspectBytes(hash));
    const late = inspector.inspectBytes(hash, { signal: abort.signal });
    abort.abort(new Error("gone"));
    await expect(late).rejects.toThrow("gone");
    expect((await Promise.all(first)).every(({ ok }) => ok)).toBe(true);
  });

  test("keeps no more than so many waiting", async () => {
    const inspector = openInspector();
    const waiting = Array.from({ length: INSPECTIONS_AT_ONCE_MAX + INSPECTIONS_WAITING_MAX }, () =>
      inspector.inspectBytes(hash),
    );
    const settled = Promise.allSettled(waiting);
    await expect(inspector.inspectBytes(hash)).rejects.toMatchObject({ type: "overloaded", code: "inspections-full" });
    await inspector.close();
    for (const end of await settled) {
      if (end.status === "rejected") expect(end.reason).toMatchObject({ type: "overloaded" });
    }
  });
});

describe("an inspection process that fails", () => {
  test("by ending under a module, again and again, condemns the module", async () => {
    started = 0;
    await using inspector = openFaulty(`${READY} ${TAKE_ONE} process.exit(3);`);
    const verdict = await inspector.inspectBytes(hash);
    expect(verdict).toMatchObject({ ok: false, reason: expect.stringContaining("ended with code 3") });
    expect(started).toBe(3);
  });

  test("by ending once costs nobody anything", async () => {
    let starts = 0;
    const source = `${READY} ${TAKE_ONE} process.exit(3);`;
    await using inspector = openWith((spawn) =>
      starts++ === 0 ? { ...spawn, flags: [...spawn.flags, "--eval", source] } : spawn,
    );
    expect((await inspector.inspectBytes(hash)).ok).toBe(true);
  });

  test("condemns the one it read, and not those that wait behind it", async () => {
    let starts = 0;
    const deadly = `${READY} ${TAKE_ONE} process.exit(3);`;
    await using inspector = openWith((spawn) =>
      starts++ < 2 ? { ...spawn, flags: [...spawn.flags, "--eval", deadly] } : spawn,
    );
    const verdicts = await Promise.all([inspector.inspectBytes(component), inspector.inspectBytes(hash)]);
    expect(verdicts.map(({ ok }) => ok)).toEqual([false, true]);
  });

  test("by taking too long condemns the module at once", async () => {
    await using inspector = openFaulty(`${READY} for (;;);`, { timeoutMs: 100 });
    const verdict = await inspector.inspectBytes(hash);
    expect(verdict).toEqual({ ok: false, reason: "reading it takes more than 0.1 s" });
  });

  test.each([
    ["nonsense", `fs.writeSync(4, Uint8Array.of(3, 2, 0, 0, 0, 123, 125));`],
    ["a kind that is none", `fs.writeSync(4, Uint8Array.of(9, 0, 0, 0, 0));`],
    ["a length past all bounds", `fs.writeSync(4, Uint8Array.of(3, 255, 255, 255, 255));`],
  ])("by saying %s is ended, and the module not believed", async (_what, say) => {
    await using inspector = openFaulty(`${READY} ${TAKE_ONE} ${say} setInterval(() => {}, 1000);`);
    expect(await inspector.inspectBytes(hash)).toMatchObject({ ok: false });
  });

  test("to start blames no module", async () => {
    await using inspector = openFaulty("process.exit(9)");
    await expect(inspector.inspectBytes(hash)).rejects.toMatchObject({ type: "overloaded", code: "inspector" });
  });

  test("by ending before it has a module is replaced", async () => {
    let starts = 0;
    await using inspector = openWith((spawn) =>
      starts++ === 0 ? { ...spawn, flags: [...spawn.flags, "--eval", `${READY} process.exit(0);`] } : spawn,
    );
    expect((await inspector.inspectBytes(hash)).ok).toBe(true);
  });
});
