/** Each pick policy, with a real gateway and two uneven workers: who gets what, as far as chance lets it be told. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import type { CapmeshClient } from "../../src/client/client.ts";
import type { SubmitFields } from "../../src/client/submit-form.ts";
import { PICK_POLICIES, type PickPolicy } from "../../src/model/worker.ts";
import { Cluster, type Ready, eventually, guestPath } from "../support/processes.ts";

const MINUTES = 60_000;
const hello = await readFile(guestPath("hello"));
const hash = await readFile(guestPath("hash"));

/** One slot and nearly all of the weight, and the other way round. */
const SMALL = { slots: 1, weight: 99 };
const LARGE = { slots: 3, weight: 1 };

type Size = "small" | "large";

interface Scene {
  readonly client: CapmeshClient;
  readonly small: string;
  readonly large: string;
}

const CHECKS: Readonly<Record<PickPolicy, (scene: Scene) => Promise<void>>> = {
  // Three of four by its slots; by its weight it would be one of a hundred.
  random: async (scene) => expect(countOf("large", await whoRuns(scene, 8))).toBeGreaterThan(1),
  "round-robin": async (scene) => {
    const turns = await whoRuns(scene, 5);
    expect(turns.slice(2)).toEqual(turns.slice(0, -2));
    expect(new Set(turns).size).toBe(2);
  },
  "least-loaded": async (scene) => {
    await makeBusy(scene, "least-loaded");
    expect(countOf("small", await whoRuns(scene, 3, { busySlots: 1 }))).toBe(3);
    await scene.client.cancel("least-loaded");
  },
  weighted: async (scene) => expect(countOf("small", await whoRuns(scene, 6))).toBeGreaterThan(3),
  locality: async (scene) => {
    const fields = { input: 0, difficulty: 1 };
    const first = await scene.client.submit({ ...fields, wasm: hash, require: { peer: scene.large } });
    await scene.client.waitForTask(first.id);
    await makeBusy(scene, "locality");
    const again = { ...fields, module: first.module };
    expect(countOf("large", await whoRuns(scene, 3, { busySlots: 1, fields: again }))).toBe(3);
  },
};

test("each policy picks as it says, and one that there is not is refused", { timeout: 5 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const data = ["--data", `${cluster.folder}/gateway`];
  let gateway = await cluster.gateway([...data, "--pick", "random"]);
  const { ready } = gateway;
  const sameAddress = ["--listen", listenAddress(ready), "--http", ready.http?.replace("http://", "") ?? ""];
  const [small = "", large = ""] = await Promise.all(
    [SMALL, LARGE].map(async ({ slots, weight }) => {
      const args = ["--slots", String(slots), "--weight", String(weight)];
      return (await cluster.worker(ready.peerId, args).ready).peerId;
    }),
  );
  for (const policy of PICK_POLICIES) {
    if (policy !== "random") {
      gateway.process.kill("SIGKILL");
      await gateway.process.exited;
      gateway = await cluster.gateway([...data, ...sameAddress, "--pick", policy]);
    }
    await CHECKS[policy]({ client: gateway.client, small, large });
  }
  const refused = await cluster.run({ args: ["--gateway", "--pick", "fastest"] });
  expect(refused).toMatchObject({ code: 2, stdout: "" });
  for (const policy of PICK_POLICIES) expect(refused.stderr).toContain(policy);
});

/** The large one has something to do, until that is cancelled. */
async function makeBusy({ client, large }: Scene, id: string): Promise<void> {
  await client.submit({ id, wasm: hello, args: ["--sleep", "600000"], timeout: "10m", require: { peer: large } });
  await eventually(async () => ((await client.getTask(id)).state === "running" ? true : undefined));
}

/** Of so many runs, one after the other, each while all slots but so many are free. */
async function whoRuns(
  { client, small }: Scene,
  count: number,
  { busySlots = 0, fields = { wasm: hello } }: { busySlots?: number; fields?: SubmitFields } = {},
): Promise<readonly Size[]> {
  const who: Size[] = [];
  while (who.length < count) {
    await eventually(async () => {
      const offers = (await client.workers()).reduce((sum, worker) => sum + worker.offers, 0);
      return offers === SMALL.slots + LARGE.slots - busySlots ? true : undefined;
    });
    const { id } = await client.submit(fields);
    expect(await client.waitForTask(id)).toMatchObject({ state: "succeeded" });
    const { attempts } = await client.getRun(id, 1);
    who.push(attempts[0]?.worker === small ? "small" : "large");
  }
  return who;
}

function countOf(size: Size, who: readonly Size[]): number {
  return who.filter((each) => each === size).length;
}

function listenAddress({ addrs }: Ready): string {
  return addrs[0]?.replace(/\/p2p\/.*$/, "") ?? "";
}
