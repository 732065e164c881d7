import { once } from "node:events";
import { chmod, mkdir, readdir } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WALL_NAMES } from "../../src/sandbox/walls.ts";
import { CommandLine } from "../support/command-line.ts";

interface Check {
  readonly name: string;
  readonly state: string;
  readonly found: string;
  readonly advice?: string;
}

interface Diagnosis {
  readonly code: number | null;
  readonly ok: boolean;
  readonly check: (name: string) => Check | undefined;
  readonly names: readonly string[];
}

let commands: CommandLine;

beforeAll(async () => {
  commands = await CommandLine.create();
});

afterAll(async () => {
  await commands[Symbol.asyncDispose]();
});

/** Nothing of this machine's own ports and network, but what the arguments say. */
async function diagnose(...args: readonly string[]): Promise<Diagnosis> {
  const { code, stdout } = await commands.run(["doctor", "--json", "--http", "127.0.0.1:0", "--no-mdns", ...args]);
  const { ok, checks } = parseDiagnosis(stdout);
  return {
    code,
    ok,
    check: (name) => checks.find((check) => check.name === name),
    names: checks.map(({ name }) => name),
  };
}

function parseDiagnosis(text: string): { readonly ok: boolean; readonly checks: readonly Check[] } {
  return JSON.parse(text) as { readonly ok: boolean; readonly checks: readonly Check[] };
}

/** Something that answers HTTP on loopback. */
async function serve(listener: RequestListener): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

describe("capmesh doctor", () => {
  test("looks at everything, and finds a fresh machine well", async () => {
    const { code, ok, names, check } = await diagnose();
    expect([code, ok]).toEqual([0, true]);
    expect(names).toEqual([
      "node",
      "data-directory",
      "disk-space",
      "clock",
      "http-port",
      "peer-port",
      "multicast",
      ...WALL_NAMES.map((name) => `wall-${name}`),
      "wall-memory-cgroup",
      "gateway",
    ]);
    expect(check("node")).toMatchObject({ state: "ok", found: process.versions.node });
    expect(check("data-directory")?.found).toContain("will be made");
    expect(check("multicast")?.found).toContain("switched off");
  });

  test("says what to do about each thing that is not well", async () => {
    const { check, names } = await diagnose("--url", "http://127.0.0.1:1");
    const unwell = names.map(check).filter((one) => one !== undefined && one.state !== "ok");
    expect(unwell.length).toBeGreaterThan(0);
    for (const one of unwell) expect(one?.advice ?? "").not.toBe("");
  });

  test("prints a line for each, for people", async () => {
    const { stdout, code } = await commands.run(["doctor", "--no-mdns", "--http", "127.0.0.1:0"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ok {4}node +\d/m);
    expect(stdout).toMatch(/^(?:ok|warn) +wall-pid-namespace +\S/m);
  });

  test("leaves nothing behind", async () => {
    const data = join(commands.home, "left");
    await mkdir(data, { mode: 0o700 });
    expect((await diagnose("--data", data)).check("data-directory")).toMatchObject({ state: "ok", found: data });
    expect(await readdir(data)).toEqual([]);
  });

  test("warns of a data directory that others can look into", async () => {
    const data = join(commands.home, "open");
    await mkdir(data);
    await chmod(data, 0o755);
    expect((await diagnose("--data", data)).check("data-directory")).toMatchObject({
      state: "warn",
      advice: `chmod 700 ${data}`,
    });
  });

  test.runIf(process.platform === "linux")("fails for a data directory that cannot be", async () => {
    const { code, ok, check } = await diagnose("--data", "/proc/capmesh");
    expect([code, ok, check("data-directory")?.state]).toEqual([1, false, "fail"]);
  });

  test("warns of a port that is taken", async () => {
    await using other = await serve((_request, response) => response.end());
    const { code, check } = await diagnose("--http", `127.0.0.1:${other.port}`);
    expect([code, check("http-port")?.state]).toEqual([0, "warn"]);
  });

  test("fails for an address that is not this machine's", async () => {
    const { code, check } = await diagnose("--http", "192.0.2.1:8080");
    expect([code, check("http-port")?.state]).toEqual([1, "fail"]);
  });
});

describe("the gateway, to the doctor", () => {
  test("that was named and does not answer has failed", async () => {
    const gone = await serve((_request, response) => response.end());
    await gone[Symbol.asyncDispose]();
    const { code, check } = await diagnose("--url", `http://127.0.0.1:${gone.port}`);
    expect([code, check("gateway")?.state]).toEqual([1, "fail"]);
    expect(check("gateway")?.found).toContain("ECONNREFUSED");
  });

  test("that answers is well, and so is its clock", async () => {
    await using gateway = await serve((_request, response) => response.end("[]"));
    const { code, check } = await diagnose("--url", `http://127.0.0.1:${gateway.port}`);
    expect([code, check("gateway")?.state, check("gateway-clock")?.state]).toEqual([0, "ok", "ok"]);
  });

  test("that answers may have the port it has", async () => {
    await using gateway = await serve((_request, response) => response.end("[]"));
    const address = `127.0.0.1:${gateway.port}`;
    const { check } = await diagnose("--url", `http://${address}`, "--http", address);
    expect(check("http-port")).toEqual({ name: "http-port", state: "ok", found: expect.stringContaining("gateway") });
  });

  test("whose clock is an hour off is told so", async () => {
    await using gateway = await serve((_request, response) => {
      response.setHeader("date", new Date(Date.now() - 3_600_000).toUTCString());
      response.end("[]");
    });
    const { check } = await diagnose("--url", `http://127.0.0.1:${gateway.port}`);
    expect(check("gateway-clock")).toMatchObject({ state: "warn", found: expect.stringMatching(/^36\d\d s off/) });
  });

  test("is given the token, and asks for one where there is none", async () => {
    await using gateway = await serve((request, response) => {
      response.statusCode = request.headers.authorization === "Bearer of-mine-alone" ? 200 : 401;
      response.end();
    });
    const url = `http://127.0.0.1:${gateway.port}`;
    expect((await diagnose("--url", url)).check("gateway")).toMatchObject({ state: "warn" });
    expect((await diagnose("--url", url, "--token", "of-mine-alone")).check("gateway")).toMatchObject({ state: "ok" });
  });

  test("that is something else has failed", async () => {
    await using other = await serve((_request, response) => {
      response.statusCode = 404;
      response.end();
    });
    expect((await diagnose("--url", `http://127.0.0.1:${other.port}`)).check("gateway")).toMatchObject({
      state: "fail",
    });
  });
});
