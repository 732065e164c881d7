/**
 * How long processes that are told to stop take to end, while a guest never does, and others do not answer: no longer than
 * their grace, and nothing is lost by it. They spend it waiting, so the tests run side by side. The exact shares of a grace
 * are tested with a clock that is moved; here there is room for a machine that has a lot to do.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { describe, test } from "vitest";
import { CapmeshClient } from "../../src/client/client.ts";
import { type CapmeshProcess, Cluster, type Ready, eventually, guestPath } from "../support/processes.ts";

const hello = await readFile(guestPath("hello"));
/** It writes at once, and then sleeps for longer than any test. */
const ENDLESS = ["--sleep", "3600000"];
/** Half of it is the guests'. */
const GRACE_MS = 6_000;
const GRACE = ["--grace", `${GRACE_MS}ms`];
/** That a process may take to be gone on a machine that is busy. By itself it is ended half a second after its grace. */
const EXIT_MS_MAX = 4_000;
const MINUTES = 60_000;

/** SIGTERM, and how long it took to end. */
async function stopMs(stopped: CapmeshProcess): Promise<{ readonly code: unknown; readonly tookMs: number }> {
  const sinceMs = performance.now();
  const code = await stopped.stop();
  return { code, tookMs: performance.now() - sinceMs };
}

async function begin(client: CapmeshClient, id: string): Promise<void> {
  await client.submit({ id, wasm: hello, args: ENDLESS });
  await eventually(async () => ((await client.rawLog(id)).length > 0 ? true : undefined));
}

/** Its run's attempts, once the last of so many is under way. */
function attemptsOf(client: CapmeshClient, id: string, count: number) {
  return eventually(async () => {
    const { attempts } = await client.getRun(id, 1);
    return attempts.length === count && attempts.at(-1)?.state === "running" ? attempts : undefined;
  });
}

/** A client that sends the beginning of a form, and nothing more. */
async function hangingUpload(ready: Ready): Promise<Disposable> {
  const { hostname, port, host } = new URL(ready.http ?? "");
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  socket.write(`POST /tasks HTTP/1.1\r\nHost: ${host}\r\nContent-Type: multipart/form-data; boundary=b\r\n`);
  // It is told to go on once its request is being read.
  socket.write("Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
  await once(socket, "data");
  socket.write("--b\r\n");
  return { [Symbol.dispose]: () => socket.destroy() };
}

describe.concurrent("a process with a guest that never ends", { timeout: 3 * MINUTES }, () => {
  test("a worker ends in time though its gateway does not answer, and the guest begins elsewhere", async ({
    expect,
  }) => {
    await using cluster = await Cluster.create();
    const { process: gateway, ready, client } = await cluster.gateway(["--lease", "2m"]);
    const worker = cluster.worker(ready.peerId, GRACE);
    await worker.ready;
    await begin(client, "endless");
    gateway.kill("SIGSTOP");
    const { code, tookMs } = await stopMs(worker);
    expect(code, worker.stderr).toBe(0);
    expect(tookMs, worker.stderr).toBeLessThan(GRACE_MS + EXIT_MS_MAX);
    gateway.kill("SIGCONT");
    await cluster.worker(ready.peerId).ready;
    const attempts = await attemptsOf(client, "endless", 2);
    expect(attempts.map(({ state }) => state)).toEqual(["lost", "running"]);
  });

  test("both in one end in time though a client hangs, and have noted that the run is to be tried again", async ({
    expect,
  }) => {
    await using cluster = await Cluster.create();
    const args = ["up", "--no-mdns", "--slots", "1", "--data", `${cluster.folder}/up`, ...GRACE];
    const start = async () => {
      const started = cluster.start({ args: [...args, "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"] });
      const ready = await started.ready;
      return { process: started, ready, client: new CapmeshClient({ url: ready.http ?? "" }) };
    };
    const first = await start();
    await begin(first.client, "endless");
    using _hanging = await hangingUpload(first.ready);
    const toldAtMs = Date.now();
    const { code, tookMs } = await stopMs(first.process);
    expect(code, first.process.stderr).toBe(0);
    expect(tookMs, first.process.stderr).toBeLessThan(GRACE_MS + EXIT_MS_MAX);
    const { client } = await start();
    const [lost] = await attemptsOf(client, "endless", 2);
    expect(lost).toMatchObject({
      state: "lost",
      outcome: { reason: expect.stringContaining("the worker was stopped") },
    });
    // It was handed back before the grace was over, not after it.
    expect(Date.parse(lost?.finishedAt ?? "") - toldAtMs).toBeLessThan(GRACE_MS);
  });
});
