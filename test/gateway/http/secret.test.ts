import { expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { rotatedSecretSchema } from "../../../src/api/secret-json.ts";
import { auditEntrySchema } from "../../../src/api/token-json.ts";
import { ApiGateway, WORKER } from "../../support/api-gateway.ts";

const ADMIN = { headers: { authorization: "Bearer the-admin-token" } };

test("an admin replaces the join secret, which the audit log tells without it", async () => {
  await using gateway = await ApiGateway.open({ adminToken: "the-admin-token" });
  const response = await fetch(`${gateway.url}/secret/rotate?grace=10m`, { method: "POST", ...ADMIN });
  expect([response.status, response.headers.get("cache-control")]).toEqual([200, "no-store"]);
  const rotated = rotatedSecretSchema.parse(await response.json());
  expect(rotated.dial).toBe(`${WORKER}#a-new-secret`);
  expect(Date.parse(rotated.previousUntil ?? "")).toBeGreaterThan(Date.now());
  expect(gateway.admissions).toEqual(["rotate 600000"]);
  expect(await gateway.client().rotateSecret()).toEqual({ dial: rotated.dial, previousUntil: null });
  const audit = await expect
    .poll(async () => auditEntrySchema.array().parse(await (await fetch(`${gateway.url}/audit`, ADMIN)).json()))
    .toHaveLength(2)
    .then(async () => (await fetch(`${gateway.url}/audit`, ADMIN)).text());
  expect(audit).toContain('"action":"secret.rotated"');
  expect(audit).toContain("the old one is good for 600 s more");
  expect(audit).not.toContain("a-new-secret");
});

test("nobody else does, and not with a grace that is none", async () => {
  await using gateway = await ApiGateway.open({ adminToken: "the-admin-token" });
  const { token } = await gateway.client().createToken({ can: ["read", "submit"] });
  const headers = { authorization: `Bearer ${token}` };
  expect((await fetch(`${gateway.url}/secret/rotate`, { method: "POST", headers })).status).toBe(403);
  expect((await fetch(`${gateway.url}/secret/rotate`, { method: "POST" })).status).toBe(401);
  for (const grace of ["soon", "25h", "-1"]) {
    const refused = await fetch(`${gateway.url}/secret/rotate?grace=${grace}`, { method: "POST", ...ADMIN });
    expect(problemSchema.parse(await refused.json())).toMatchObject({ status: 400, code: "invalid-field" });
  }
  expect(gateway.admissions).toEqual([]);
});

test("a secret that the settings give is not replaced here", async () => {
  await using gateway = await ApiGateway.open();
  gateway.isSecretGiven = true;
  const refused = await fetch(`${gateway.url}/secret/rotate`, { method: "POST" });
  expect(problemSchema.parse(await refused.json())).toMatchObject({ status: 409, code: "secret-configured" });
});
