import { link, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ClusterError, failed } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { connectSocket, formatSocketAddress, listenSocket, parseSocketAddress } from "../../src/net/socket-endpoint.ts";
import { temporaryFolder } from "./host-harness.ts";
import { anyNumber } from "../support/matchers.ts";
import { fc } from "../support/properties.ts";

const base = { clock: systemClock, log: silentLog, onStream: () => undefined };

describe("parseSocketAddress", () => {
  test.each([
    ["tcp:127.0.0.1:4078", { kind: "tcp", host: "127.0.0.1", port: 4078 }],
    ["tcp:localhost:0", { kind: "tcp", host: "localhost", port: 0 }],
    ["tcp:[::1]:4078", { kind: "tcp", host: "::1", port: 4078 }],
    ["unix:/run/capmesh.sock", { kind: "unix", path: "/run/capmesh.sock" }],
    ["unix:relative", { kind: "unix", path: "relative" }],
  ])("reads %j, and writes it again", (text, expected) => {
    expect(parseSocketAddress(text)).toEqual(expected);
    expect(formatSocketAddress(parseSocketAddress(text))).toBe(text);
  });

  test.each([
    "",
    "tcp:",
    "tcp:4078",
    "tcp:127.0.0.1",
    "tcp:127.0.0.1:99999",
    "tcp:::1:80",
    "tcp:[x]:80",
    "unix:",
    "udp:a:1",
    `unix:/${"x".repeat(200)}`,
  ])("refuses %j", (text) => {
    expect(() => parseSocketAddress(text)).toThrow(expect.objectContaining({ code: "invalid-address" }));
  });

  test("never throws anything else", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `tcp:${text}`),
          fc.string().map((text) => `unix:${text}`),
        ),
        (text) => {
          try {
            parseSocketAddress(text);
          } catch (error) {
            expect(error).toBeInstanceOf(ClusterError);
          }
        },
      ),
    );
  });
});

describe("listenSocket", () => {
  test.each(["0.0.0.0", "::", "10.0.0.7", "gate.example", "127.example"])(
    "refuses to listen on %s: it is not loopback",
    async (host) => {
      await expect(listenSocket({ ...base, address: { kind: "tcp", host, port: 0 } })).rejects.toMatchObject({
        code: "not-loopback",
      });
    },
  );

  test("says the port it got", async () => {
    await using listener = await listenSocket({ ...base, address: { kind: "tcp", host: "127.0.0.1", port: 0 } });
    expect(listener.address).toMatchObject({ kind: "tcp", host: "127.0.0.1", port: anyNumber() });
    await expect(listenSocket({ ...base, address: listener.address })).rejects.toMatchObject({
      code: "address-in-use",
    });
  });

  test("makes a unix socket for its owner alone, and removes it", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "rpc");
    const listener = await listenSocket({ ...base, address: { kind: "unix", path } });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await listener.close();
    await listener.close();
    expect(await readdir(folder.path)).toEqual([]);
  });

  test("refuses a unix socket that is alive", async () => {
    await using folder = await temporaryFolder();
    const address = { kind: "unix", path: join(folder.path, "rpc") } as const;
    await using listener = await listenSocket({ ...base, address });
    await expect(listenSocket({ ...base, address })).rejects.toMatchObject({ code: "address-in-use" });
    expect(listener.address).toEqual(address);
  });

  test("takes the place of a unix socket that a killed process has left", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "rpc");
    // Listens, without removing the file when it ends.
    const left = createServer();
    await new Promise<void>((resolve) => left.listen({ path: join(folder.path, "live") }, resolve));
    await link(join(folder.path, "live"), path);
    await new Promise((resolve) => left.close(resolve));
    await using listener = await listenSocket({ ...base, address: { kind: "unix", path } });
    expect(listener.address).toEqual({ kind: "unix", path });
  });

  test("leaves a file alone that is no socket", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "rpc");
    await writeFile(path, "precious");
    await expect(listenSocket({ ...base, address: { kind: "unix", path } })).rejects.toMatchObject({ type: "failed" });
    expect((await stat(path)).size).toBe(8);
  });

  test("says what is wrong with a place that cannot be", async () => {
    await using folder = await temporaryFolder();
    await mkdir(join(folder.path, "folder"));
    const path = join(folder.path, "missing", "rpc");
    await expect(listenSocket({ ...base, address: { kind: "unix", path } })).rejects.toMatchObject({
      code: "cannot-listen",
    });
  });
});

describe("connectSocket", () => {
  test("rejects when nobody listens, or when told to stop", async () => {
    const address = { kind: "tcp", host: "127.0.0.1", port: 1 } as const;
    await expect(connectSocket({ address, clock: systemClock })).rejects.toMatchObject({
      type: "disconnected",
      code: "unreachable",
    });
    const reason = failed("enough");
    const far = { kind: "tcp", host: "192.0.2.1", port: 1 } as const;
    await expect(connectSocket({ address: far, clock: systemClock, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    const controller = new AbortController();
    const connecting = connectSocket({ address: far, clock: systemClock, signal: controller.signal });
    controller.abort(reason);
    await expect(connecting).rejects.toBe(reason);
  });
});
