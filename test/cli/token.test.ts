/** `capmesh token` and `capmesh audit` as processes, against a real API. */
import { expect, test } from "vitest";
import { ApiGateway } from "../support/api-gateway.ts";
import { CommandLine } from "../support/command-line.ts";

test("a colleague's token can look and not submit, is listed, and is revoked", async () => {
  await using gateway = await ApiGateway.open({ adminToken: "the-admin-token" });
  await using line = await CommandLine.create();
  const admin = { env: { CAPMESH_URL: gateway.url, CAPMESH_TOKEN: "the-admin-token" } };
  const made = await line.run(["token", "create", "--can", "read", "--for", "30d", "--label", "anna"], admin);
  expect(made).toMatchObject({ code: 0, stderr: expect.stringContaining("can read") });
  const token = made.stdout.trim();
  const anna = { env: { CAPMESH_URL: gateway.url, CAPMESH_TOKEN: token } };
  expect(await line.run(["task", "ls"], anna)).toMatchObject({ code: 0 });
  const refused = await line.run(["token", "create", "--can", "read"], anna);
  expect(refused).toMatchObject({ code: 4, stderr: expect.stringContaining("can only read") });
  const id = token.split("_")[1] ?? "";
  const listed = await line.run(["token", "ls"], admin);
  expect(listed.stdout).toMatch(new RegExp(`${id} +active +read +anna`));
  expect(await line.run(["token", "revoke", id], admin)).toMatchObject({ code: 0 });
  const gone = await line.run(["task", "ls"], anna);
  expect(gone).toMatchObject({ code: 4, stderr: expect.stringContaining("revoked") });
  const audit = await line.run(["audit", "--json"], admin);
  expect(audit.stdout).toContain(`"action":"token.revoked","subject":"${id}"`);
});

test.each([
  [["token", "create"], "--can"],
  [["token", "create", "--can", "fly"], "read, submit, admin"],
  [["token", "create", "--can", "read", "--rate", "0"], "above 0"],
  [["token", "revoke"], "id"],
])("%j is refused, naming what is wrong", async (args, named) => {
  await using line = await CommandLine.create();
  expect(await line.run(args)).toMatchObject({ code: 2, stderr: expect.stringContaining(named) });
});
