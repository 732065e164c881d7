import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, test } from "vitest";
import { sleep } from "../../src/base/clock.ts";
import { disconnected, failed } from "../../src/base/errors.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { DIAL_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS } from "../../src/base/limits.ts";
import { dialFirst, probeTcp } from "../../src/net/dial-first.ts";

/** An address of this machine that is not loopback. */
const ownAddress = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;
if (ownAddress === undefined) console.warn("skipped: probing TCP: this machine has no address but loopback");

type Options = { readonly signal: AbortSignal };

/** Resolves never; rejects when told to stop. */
function hang(_address: string, { signal }: Options): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

function answersAt(...good: readonly string[]) {
  return async (address: string): Promise<void> => {
    if (!good.includes(address)) throw new Error("refused");
  };
}

const echo = async (address: string): Promise<string> => address;

describe("dialFirst", () => {
  test("gives a peer that is there more time than an address that keeps quiet", async () => {
    const clock = new ManualClock();
    const slow = (address: string): Promise<string> => sleep(clock, DIAL_TIMEOUT_MS * 2).then(() => address);
    const init = { addresses: ["a"], clock, signal: undefined };
    const dialling = dialFirst({ ...init, probe: answersAt("a"), dial: slow });
    await clock.run(DIAL_TIMEOUT_MS * 2);
    expect(await dialling).toBe("a");
    const hanging = dialFirst({ ...init, probe: answersAt("a"), dial: hang }).catch((error: unknown) => error);
    await clock.run(HANDSHAKE_TIMEOUT_MS);
    expect(await hanging).toMatchObject({ code: "unreachable" });
    expect(clock.pendingTimers).toBe(0);
  });

  test("takes the first that answers in the order given", async () => {
    const init = { addresses: ["a", "b", "c"], dial: echo, clock: systemClock, signal: undefined };
    expect(await dialFirst({ ...init, probe: answersAt("b", "c") })).toBe("b");
  });

  test("goes past addresses that keep quiet, without waiting for their timeout", async () => {
    const clock = new ManualClock();
    const dialling = dialFirst({
      addresses: ["quiet", "mute", "good"],
      probe: (address, options) => (address === "good" ? Promise.resolve() : hang(address, options)),
      dial: echo,
      clock,
      signal: undefined,
    });
    await clock.run(400);
    expect(await dialling).toBe("good");
    expect(clock.pendingTimers).toBe(0);
  });

  test("goes on to the next when the one that answered is another peer", async () => {
    const dial = async (address: string): Promise<string> => {
      if (address === "b") return address;
      throw disconnected("somebody else", { code: "wrong-peer" });
    };
    const init = { probe: answersAt("a", "b"), dial, clock: systemClock, signal: undefined };
    expect(await dialFirst({ ...init, addresses: ["a", "b"] })).toBe("b");
    await expect(dialFirst({ ...init, addresses: ["a", "c"] })).rejects.toMatchObject({ code: "wrong-peer" });
  });

  test("names every address and reason when all fail", async () => {
    const init = { addresses: ["a", "b"], probe: answersAt(), dial: echo, clock: systemClock, signal: undefined };
    await expect(dialFirst(init)).rejects.toMatchObject({
      type: "disconnected",
      code: "unreachable",
      message: "a: refused; b: refused",
    });
  });

  test("gives up on addresses that keep quiet for ever", async () => {
    const clock = new ManualClock();
    const dialling = dialFirst({ addresses: ["a", "b"], probe: hang, dial: echo, clock, signal: undefined });
    const refused = dialling.then(
      () => undefined,
      (error: unknown) => error,
    );
    await clock.run(DIAL_TIMEOUT_MS * 2);
    expect(await refused).toMatchObject({ code: "unreachable" });
    expect(clock.pendingTimers).toBe(0);
  });

  test.each([["probing", ["a", "b"]] as const, ["connecting", ["a"]] as const])(
    "stops at once when its signal is aborted while %s",
    async (_state, addresses) => {
      const controller = new AbortController();
      const { signal } = controller;
      const dialling = dialFirst({ addresses, probe: hang, dial: hang, clock: systemClock, signal });
      const reason = failed("changed our mind");
      controller.abort(reason);
      await expect(dialling).rejects.toBe(reason);
    },
  );
});

describe("probeTcp", () => {
  test.skipIf(ownAddress === undefined)("resolves where somebody listens and rejects where nobody does", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const { signal } = new AbortController();
    await probeTcp(`/ip4/${ownAddress}/tcp/${port}`, { signal });
    await new Promise((resolve) => server.close(resolve));
    await expect(probeTcp(`/ip4/${ownAddress}/tcp/${port}`, { signal })).rejects.toThrow("ECONNREFUSED");
  });

  test.each(["/dns4/gate.example/tcp/4077", "/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"])(
    "takes %s to answer: dialling tells",
    async (address) => {
      await probeTcp(address, { signal: new AbortController().signal });
    },
  );

  test("rejects with the reason when aborted, before and during", async () => {
    const reason = failed("enough");
    await expect(probeTcp("/ip4/192.0.2.1/tcp/1", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const probing = probeTcp("/ip4/192.0.2.1/tcp/1", { signal: controller.signal });
    controller.abort(reason);
    await expect(probing).rejects.toBe(reason);
  });
});
