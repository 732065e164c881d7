/** Processes of the command line from their start to their end. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { CommandLine } from "../support/command-line.ts";
import { descendants, isAlive } from "../support/process-table.ts";

const HELLO = fileURLToPath(new URL("../../wasm-tasks/hello/hello.wasm", import.meta.url));
const QUIET = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns", "--log", "warn"];
const IS_LINUX = process.platform === "linux";
/** A process that starts on a busy machine takes its time. */
const LONG_MS = 120_000;

interface Ready {
  readonly role: string;
  readonly peerId: string;
  readonly http: string;
  readonly dial: string;
  readonly addrs: readonly string[];
}

function decodeReady(text: string | undefined): Ready {
  return JSON.parse(text ?? "") as Ready;
}

describe("a gateway", { timeout: LONG_MS }, () => {
  test("prints one JSON line when it is ready, and drains with 0 on SIGTERM", async () => {
    await using line = await CommandLine.create();
    const gateway = line.start(["--gateway", "true", ...QUIET, "--json"]);
    const ready = decodeReady((await gateway.find(/^\{.*\}\n/)).at(0));
    expect(ready).toMatchObject({ event: "ready", role: "gateway", addrs: [expect.stringContaining(ready.peerId)] });
    expect(ready.dial).toMatch(new RegExp(`^${ready.peerId}#.`));
    expect((await fetch(`${ready.http}/livez`)).status).toBe(200);
    const runFile = join(line.home, "run/capmesh/capmesh", `${ready.peerId}.json`);
    expect(existsSync(runFile)).toBe(true);
    gateway.kill("SIGTERM");
    const { code, stdout } = await gateway.result;
    expect(code).toBe(0);
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    expect(existsSync(runFile)).toBe(false);
  });

  test("says it in words without --json, and on stderr how a worker joins", async () => {
    await using line = await CommandLine.create();
    const gateway = line.start(["--gateway", ...QUIET]);
    await gateway.find(/a worker joins with/);
    gateway.kill("SIGINT");
    const { code, stdout, stderr } = await gateway.result;
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^ready role=gateway peerId=12D3\w+ http=http:\/\/127\.0\.0\.1:\d+ dial=12D3\w+#\S+ addrs=\S+\n$/,
    );
    expect(stderr).toMatch(/capmesh --dial '12D3\w+#\S+'/);
  });

  test("that other machines reach says where, and which file has its token", async () => {
    await using line = await CommandLine.create();
    const gateway = line.start(["--gateway", ...QUIET, "--http", "0.0.0.0:0"]);
    const [, file = ""] = await gateway.find(/export CAPMESH_TOKEN=\$\(cat '(.*)'\)/);
    const [, url = ""] = await gateway.find(/dashboard at (http:\S+:\d+), and at this machine's other addresses/);
    const authorization = `Bearer ${readFileSync(file, "utf8").trim()}`;
    expect((await fetch(`${url}/tasks`, { headers: { authorization } })).status).toBe(200);
    gateway.kill("SIGTERM");
    expect((await gateway.result).code).toBe(0);
  });

  test("names a database that is damaged, leaves it as it is, and ends with 1", async () => {
    await using line = await CommandLine.create();
    const data = join(line.home, "data");
    mkdirSync(data, { mode: 0o700 });
    writeFileSync(join(data, "capmesh.db"), "no database\n".repeat(1_000));
    const { code, stderr } = await line.run(["--gateway", ...QUIET, "--data", data]);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(
        /data\/capmesh\.db is damaged.*restore it from a backup, or move it and the folder blobs away/,
      ),
    });
    expect(readFileSync(join(data, "capmesh.db"), "utf8")).toBe("no database\n".repeat(1_000));
  });

  test("names the flag of a certificate that is not there", async () => {
    await using line = await CommandLine.create();
    const { code, stderr } = await line.run([
      "--gateway",
      ...QUIET,
      "--tls-cert",
      "nowhere.pem",
      "--tls-key",
      "key.pem",
    ]);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/^capmesh: --tls-cert: .*nowhere\.pem/),
    });
  });

  test("takes its role from the environment", async () => {
    await using line = await CommandLine.create();
    const gateway = line.start([...QUIET, "--json"], { env: { CAPMESH_GATEWAY: "true" } });
    await gateway.find(/"role":"gateway"/);
    gateway.kill("SIGTERM");
    expect((await gateway.result).code).toBe(0);
  });

  test("ends on a signal that comes while it starts", async () => {
    await using line = await CommandLine.create();
    const gateway = line.start(["--gateway", ...QUIET, "--log", "debug"]);
    // The listener is there before anything is opened; the data directory is the first thing to appear.
    await untilExists(join(line.home, ".local/share/capmesh/gateway"));
    gateway.kill("SIGTERM");
    expect((await gateway.result).code).toBe(0);
  });

  test("refuses a data directory that is in use", async () => {
    await using line = await CommandLine.create();
    const data = join(line.home, "data");
    const first = line.start(["--gateway", ...QUIET, "--data", data]);
    await first.find(/^ready/);
    const second = await line.run(["--gateway", ...QUIET, "--data", data]);
    expect(second.code).not.toBe(0);
    expect(second.stderr).toContain(data);
    expect(second.stderr).not.toContain("    at ");
  });
});

describe("gateway and worker in one process", { timeout: LONG_MS }, () => {
  test("a second signal stops it at once, in the middle of a drain", async () => {
    await using line = await CommandLine.create();
    const up = line.start(["up", ...QUIET, "--log", "info", "--slots", "1", "--json"]);
    const { http } = decodeReady((await up.find(/^\{.*\}\n/)).at(0));
    const guest = line.start(["run", HELLO, "--url", http, "--", "--sleep", "600000"]);
    await guest.find(/hello from a guest/);
    const runners = IS_LINUX ? descendants(up.pid) : [];
    up.kill("SIGTERM");
    await up.find(/got a signal to stop/);
    const before = performance.now();
    up.kill("SIGTERM");
    expect((await up.result).code).toBe(130);
    expect(performance.now() - before).toBeLessThan(20_000);
    if (IS_LINUX) await expect.poll(() => runners.filter(isAlive), { timeout: 30_000 }).toEqual([]);
  });

  test("runs a guest and ends with its exit code", async () => {
    await using line = await CommandLine.create();
    const up = line.start(["up", ...QUIET, "--slots", "1", "--json"]);
    const { http } = decodeReady((await up.find(/^\{.*\}\n/)).at(0));
    const args = ["run", HELLO, "--url", http, "--env", "K=V", "--stdin", "-", "--", "one", "--exit", "7"];
    const result = await line.run(args, { stdin: "typed" });
    expect(result.code).toBe(7);
    expect(result.stdout).toBe("hello from a guest\narg 1 one\narg 2 --exit\narg 3 7\nenv K=V\ntyped");
    expect(result.stderr).toContain("hello: exit 7");
    const refused = await line.run(["run", fileURLToPath(import.meta.url), "--url", http]);
    expect(refused.code).toBe(2);
  });
});

async function untilExists(path: string): Promise<void> {
  await expect.poll(() => existsSync(path), { timeout: 30_000, interval: 5 }).toBe(true);
}
