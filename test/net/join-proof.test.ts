import { createHmac } from "node:crypto";
import { chmod, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parsePeerId, type PeerId } from "../../src/base/ids.ts";
import {
  isJoinProof,
  isSecret,
  joinProof,
  loadSecret,
  makeNonce,
  makeSecret,
  SECRET_FILE,
  type JoinProofInput,
} from "../../src/net/join-proof.ts";
import { temporaryFolder } from "./host-harness.ts";
import { fc } from "../support/properties.ts";

function peer(text: string): PeerId {
  const peerId = parsePeerId(text);
  if (peerId === undefined) throw new Error("not a peer id");
  return peerId;
}

const GATEWAY = peer("12D3KooWGatewayGatewayGatewayGatewayGatewayGatewayAA");
const WORKER = peer("12D3KooWWorkerWorkerWorkerWorkerWorkerWorkerWorkerAA");

const nonce = fc.uint8Array({ minLength: 32, maxLength: 32 });
const input: fc.Arbitrary<JoinProofInput> = fc.record({
  secret: fc.string({ minLength: 1, maxLength: 40 }),
  namespace: fc.string({ maxLength: 20 }),
  gatewayPeerId: fc.constantFrom(GATEWAY, WORKER),
  workerPeerId: fc.constantFrom(GATEWAY, WORKER),
  gatewayNonce: nonce,
  workerNonce: nonce,
});

describe("joinProof", () => {
  test("is the HMAC that the schema describes", () => {
    const gatewayNonce = Buffer.alloc(32, 1);
    const workerNonce = Buffer.alloc(32, 2);
    const parts = ["capmesh/join/1/worker", "ns", GATEWAY, WORKER].map((text) => Buffer.from(text));
    const framed = [...parts, gatewayNonce, workerNonce].flatMap((part) => [
      Buffer.from([0, 0, 0, part.byteLength]),
      part,
    ]);
    const expected = createHmac("sha256", "the secret").update(Buffer.concat(framed)).digest("hex");
    const proof = joinProof("worker", {
      secret: "the secret",
      namespace: "ns",
      gatewayPeerId: GATEWAY,
      workerPeerId: WORKER,
      gatewayNonce,
      workerNonce,
    });
    expect(Buffer.from(proof).toString("hex")).toBe(expected);
  });

  test("holds for exactly the input and the role it was made for", () => {
    fc.assert(
      fc.property(input, input, fc.constantFrom("worker", "gateway"), (one, other, role) => {
        const proof = joinProof(role, one);
        expect(isJoinProof(role, one, proof)).toBe(true);
        expect(isJoinProof(role === "worker" ? "gateway" : "worker", one, proof)).toBe(false);
        const isSame = JSON.stringify(one) === JSON.stringify(other);
        expect(isJoinProof(role, other, proof)).toBe(isSame);
      }),
    );
  });

  test("fails with one field changed", () => {
    fc.assert(
      fc.property(input, fc.integer({ min: 0, max: 31 }), (one, at) => {
        const proof = joinProof("worker", one);
        const flipped = Uint8Array.from(one.workerNonce, (byte, index) => (index === at ? byte ^ 1 : byte));
        expect(isJoinProof("worker", { ...one, workerNonce: flipped }, proof)).toBe(false);
        expect(isJoinProof("worker", { ...one, secret: `${one.secret}x` }, proof)).toBe(false);
        // The lengths are part of what is proven: moving a character from one part to the next changes it.
        expect(isJoinProof("worker", { ...one, namespace: `${one.namespace}1` }, proof)).toBe(false);
      }),
    );
  });

  test("never accepts bytes of another length, nor nonces of another length", () => {
    fc.assert(
      fc.property(input, fc.uint8Array({ maxLength: 80 }), (one, proof) => {
        expect(isJoinProof("gateway", one, proof)).toBe(false);
        const short = { ...one, gatewayNonce: one.gatewayNonce.subarray(1) };
        expect(isJoinProof("gateway", short, joinProof("gateway", short))).toBe(false);
      }),
    );
  });
});

describe("secrets and nonces", () => {
  test("are never the same twice", () => {
    expect(new Set(Array.from({ length: 100 }, makeSecret)).size).toBe(100);
    expect(makeNonce()).not.toEqual(makeNonce());
    expect(makeNonce().byteLength).toBe(32);
  });

  test("are accepted as secrets", () => {
    expect(Array.from({ length: 100 }, makeSecret).every(isSecret)).toBe(true);
  });

  test.each(["", "short", "with space in it", "with\nnewline", "ümlaut-ümlaut"])("a secret is not %j", (text) => {
    expect(isSecret(text)).toBe(false);
  });

  test("are made once and kept for their owner alone", async () => {
    await using folder = await temporaryFolder();
    const made = await Promise.all(Array.from({ length: 4 }, () => loadSecret(folder.path)));
    expect(new Set([...made, await loadSecret(folder.path)]).size).toBe(1);
    expect((await stat(join(folder.path, SECRET_FILE))).mode & 0o777).toBe(0o600);
  });

  test("are refused when others may read them or the file is broken", async () => {
    await using folder = await temporaryFolder();
    await loadSecret(folder.path);
    await chmod(join(folder.path, SECRET_FILE), 0o644);
    await expect(loadSecret(folder.path)).rejects.toMatchObject({ code: "file-not-private" });
    await chmod(join(folder.path, SECRET_FILE), 0o600);
    await writeFile(join(folder.path, SECRET_FILE), "a b");
    await expect(loadSecret(folder.path)).rejects.toMatchObject({ code: "secret-broken" });
  });
});
