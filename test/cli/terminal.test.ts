/** What a person sees: commands on a terminal of 80 columns, which the program `script` (util-linux) makes. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import { displayWidth } from "../../src/cli/table.ts";
import { COMPILE_CACHE, CommandLine } from "../support/command-line.ts";
import { FakeGateway, RUN, TASK, json } from "../support/fake-gateway.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const WIDTH = 80;
const CTRL_C = "\u0003";
const hasScript = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux");

class Terminal implements AsyncDisposable {
  readonly exitCode: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  #screen = "";

  constructor(line: CommandLine, env: Readonly<Record<string, string>>, args: readonly string[]) {
    const command = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(" ");
    this.#child = spawn("script", ["-qefc", `stty cols ${WIDTH} rows 24; exec ${command}`, "/dev/null"], {
      cwd: line.home,
      env: {
        PATH: process.env["PATH"],
        HOME: line.home,
        TERM: "xterm",
        SHELL: "/bin/sh",
        NODE_COMPILE_CACHE: COMPILE_CACHE,
        ...env,
      },
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.exitCode = new Promise((resolve) => {
      this.#child.once("close", (code) => {
        resolve(code);
        this.#tell();
      });
    });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#screen += text;
      this.#tell();
    });
  }

  /** All that was written, line ends as they are in files. */
  get screen(): string {
    return this.#screen.replaceAll("\r\n", "\n");
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Resolves when it is on the screen. Rejects when the command ends without it. */
  async shows(pattern: RegExp): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = (): void => {
      if (pattern.test(this.screen)) resolve();
    };
    this.#watchers.add(look);
    look();
    void this.exitCode.then(() => reject(new Error(`ended without ${String(pattern)}:\n${this.screen}`)));
    await promise;
    this.#watchers.delete(look);
  }

  #tell(): void {
    for (const watcher of this.#watchers) watcher();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exitCode;
  }
}

/** A task that goes on and on. */
const UNENDING = {
  "POST /tasks": json(TASK, 201),
  "GET /tasks/t1": json({ ...TASK, state: "running", progress: 0.25, finishedAt: null, result: null }),
  "GET /tasks/t1/runs": json([RUN]),
  "GET /tasks/t1/logs": ((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`id: 1:3\nevent: stdout\ndata: {"run":1,"attempt":1,"offset":0,"text":"up\\n"}\n\n`);
  }) satisfies RequestListener,
  "POST /tasks/t1/cancel": json({ ...TASK, state: "cancelled" }),
};

describe.runIf(hasScript)("on a terminal", () => {
  const runUnending = async (line: CommandLine, gateway: FakeGateway): Promise<Terminal> => {
    await writeFile(join(line.home, "m.wasm"), "\0asm\x01\0\0\0");
    const terminal = new Terminal(line, gateway.env, ["run", "m.wasm"]);
    await terminal.shows(/up\n/);
    await terminal.shows(/█{6}░{18} {2}25 %.*t1/);
    terminal.type(CTRL_C);
    await terminal.shows(/cancel task t1\? \[y\/N\] /);
    return terminal;
  };
  const wasCancelled = (gateway: FakeGateway): boolean =>
    gateway.requests.some(({ url }) => url === "/tasks/t1/cancel");

  test("run shows a bar; Ctrl-C asks, and y cancels the task", async () => {
    await using gateway = await FakeGateway.create(UNENDING);
    await using line = await CommandLine.create();
    await using terminal = await runUnending(line, gateway);
    terminal.type("y\r");
    expect(await terminal.exitCode).toBe(130);
    expect(terminal.screen).toContain("task t1 is cancelled");
    expect(wasCancelled(gateway)).toBe(true);
  });

  test("a second Ctrl-C leaves, and the task goes on", async () => {
    await using gateway = await FakeGateway.create(UNENDING);
    await using line = await CommandLine.create();
    await using terminal = await runUnending(line, gateway);
    terminal.type(CTRL_C);
    expect(await terminal.exitCode).toBe(130);
    expect(terminal.screen).toContain("task t1 goes on");
    expect(wasCancelled(gateway)).toBe(false);
  });

  test("who waits for a task that does not run is told why", async () => {
    const waiting = { ...TASK, state: "ready", finishedAt: null, result: null };
    const reasons = [{ code: "no-worker", message: "No worker is connected." }];
    const silent: RequestListener = (_request, response) => response.writeHead(200).flushHeaders();
    await using gateway = await FakeGateway.create({
      ...UNENDING,
      "GET /tasks/t1": json(waiting),
      "GET /tasks/t1/explain": json({ task: "t1", state: "ready", reasons }),
      "GET /tasks/t1/logs": silent,
    });
    await using line = await CommandLine.create();
    await writeFile(join(line.home, "m.wasm"), "\0asm\x01\0\0\0");
    await using running = new Terminal(line, gateway.env, ["run", "m.wasm"]);
    await running.shows(/ready {2}t1\n.*No worker is connected\./);
    await using following = new Terminal(line, gateway.env, ["task", "logs", "t1", "-f"]);
    await following.shows(/nothing yet: No worker is connected\./);
  });

  test("NO_COLOR is respected", async () => {
    await using gateway = await FakeGateway.create({ "GET /tasks": json([TASK]) });
    await using line = await CommandLine.create();
    await using terminal = new Terminal(line, { ...gateway.env, NO_COLOR: "1" }, ["task", "ls"]);
    expect(await terminal.exitCode).toBe(0);
    expect(terminal.screen).toContain("succeeded");
    expect(terminal.screen).not.toContain("\u001b");
  });

  test("a table fits, cut with an ellipsis; ids that the gateway made are whole", async () => {
    const id = "0198c0de-7000-7000-8000-000000000001";
    const wide = { ...TASK, id, result: { stdout: "words ".repeat(40), stderr: "", exitCode: 0 } };
    await using gateway = await FakeGateway.create({ "GET /tasks": json([wide]) });
    await using line = await CommandLine.create();
    await using terminal = new Terminal(line, gateway.env, ["task", "ls"]);
    expect(await terminal.exitCode).toBe(0);
    expect(terminal.screen).toContain("\u001b[32msucceeded\u001b[39m");
    const lines = stripVTControlCharacters(terminal.screen).trimEnd().split("\n");
    expect(lines.map(displayWidth).filter((width) => width > WIDTH)).toEqual([]);
    expect(lines[1]).toMatch(new RegExp(`^${id} .*words …`));
  });
});
