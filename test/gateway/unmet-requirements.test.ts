import { expect, test } from "vitest";
import { UNMET_REQUIREMENTS_MAX } from "../../src/base/limits.ts";
import { UnmetRequirements } from "../../src/gateway/unmet-requirements.ts";
import { parseCustomKind } from "../../src/model/entry.ts";
import type { ReadyRun } from "../../src/store/store.ts";
import { T0, WORKER_A, WORKER_B, taskSpec } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

test("leaves out what nobody offers, until somebody does", () => {
  const unmet = new UnmetRequirements();
  const runs = [run(0, {}), run(1, { zone: "eu" }), run(2, { zone: "us" })];
  const offers = [offer({ zone: "eu" })];
  unmet.note(runs, offers);
  expect(unmet.unmetBy(offers)).toEqual([2]);
  expect(unmet.unmetBy([...offers, offer({ zone: "us" })])).toEqual([]);
  expect(unmet.unmetBy(offers)).toEqual([]);
});

test("runs of WebAssembly are left out while only workers of other kinds have offers", () => {
  const unmet = new UnmetRequirements();
  const resize = parseCustomKind("resize");
  if (resize === undefined) throw new Error("it is a kind");
  const other = { ...offer({}), state: { ...offer({}).state, kinds: [resize] } };
  const one = { ...offer({}), state: { ...offer({}).state, kinds: ["run" as const] } };
  // The entries of WebAssembly share a number: who has one of them is given all to choose from.
  unmet.note([run(0, {})], [other]);
  expect(unmet.unmetBy([other])).toEqual([0]);
  expect(unmet.unmetBy([other, one])).toEqual([]);
});

test("remembers no more than it may", () => {
  const unmet = new UnmetRequirements();
  const many = Array.from({ length: UNMET_REQUIREMENTS_MAX + 5 }, (_, index) => run(index + 1, { n: String(index) }));
  unmet.note(many, [offer({})]);
  const remembered = unmet.unmetBy([offer({})]);
  expect(remembered).toHaveLength(UNMET_REQUIREMENTS_MAX);
  expect(remembered).not.toContain(1);
});

test("a run behind thousands that want another worker is started at once", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  for (let index = 0; index < 300; index++) {
    await cluster.submit(`other-${index}`, { require: { zone: "mars" }, repeats: 20, priority: 1 });
  }
  await cluster.submit("mine");
  worker.offer();
  expect((await worker.nextRun()).id.task).toBe("mine");
});

function run(requirement: number, require: Record<string, string>): ReadyRun {
  const spec = taskSpec("t", { require });
  return { spec, serial: 1, index: 1, dueAt: T0, requirement, nextAttempt: 1, triedWorkers: [], lostOn: [] };
}

function offer(labels: Record<string, string>) {
  const state = { slots: 1, busy: 0, weight: 1, labels, version: "1", cachedModules: [] };
  return { peer: Object.hasOwn(labels, "zone") && labels["zone"] === "us" ? WORKER_B : WORKER_A, state };
}
