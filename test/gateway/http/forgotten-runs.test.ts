/** What is told of a task without end whose first runs were forgotten for their age. */
import { expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { SseParser } from "../../../src/api/sse.ts";
import { type LogItem, followLog } from "../../../src/gateway/http/log-follow.ts";
import { SharedLogs } from "../../../src/gateway/http/shared-log.ts";
import { taskId } from "../../store/store-samples.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const LATER_MS = 500 * 86_400_000;

/** Of the task `a`, runs 1 to 4 have printed their number, and 1 and 2 are forgotten. */
async function withForgotten(): Promise<ApiGateway> {
  const gateway = await ApiGateway.open();
  await gateway.client().submit({ wasm: guestBytes("hello"), id: "a", cron: "0 0 1 * *", repeats: 0 });
  for (const run of [1, 2, 3, 4]) {
    const attempt = await gateway.start("a", run);
    await gateway.write(attempt, "stdout", `run ${run}\n`);
    await gateway.succeed(attempt);
  }
  expect(await gateway.store.forgetRuns(Date.now() + LATER_MS, 2, 0)).toMatchObject({ forgotten: 2 });
  return gateway;
}

test("its runs are those that are known, by the index that they have", async () => {
  await using gateway = await withForgotten();
  const client = gateway.client();
  const indexes: number[] = [];
  for await (const { index } of client.listRuns("a")) indexes.push(index);
  expect(indexes.slice(0, 3)).toEqual([3, 4, 5]);
  const page: unknown = await (await fetch(`${gateway.url}/tasks/a/runs?limit=1&cursor=2`)).json();
  expect(page).toMatchObject([{ index: 3 }]);
  expect(await client.getRun("a", 3)).toMatchObject({ index: 3, state: "succeeded" });
  expect(await client.getTask("a")).toMatchObject({ complete: 4 });
});

test.each(["runs/2", "logs?run=2", "runs/2/files", "logs?run=1&follow=1"])(
  "%s says why there is none",
  async (path) => {
    await using gateway = await withForgotten();
    const response = await fetch(`${gateway.url}/tasks/a/${path}`);
    expect(response.status).toBe(404);
    const { code, detail } = problemSchema.parse(await response.json());
    expect(code).toBe("no-such-run");
    expect(detail).toContain("its runs are 3 to ");
    expect(detail).toContain("those before were forgotten for their age");
  },
);

test("the log of all runs begins with the first that is known", async () => {
  await using gateway = await withForgotten();
  const text = await (await fetch(`${gateway.url}/tasks/a/logs?run=all`)).text();
  expect(text).toBe("run 3\nrun 4\n");
});

test("a reader of all runs that was in the middle of a forgotten one goes on behind it", async () => {
  await using gateway = await withForgotten();
  const headers = { "last-event-id": "1:3", accept: "text/event-stream" };
  const response = await fetch(`${gateway.url}/tasks/a/logs?run=all&follow=0`, { headers });
  const events = new SseParser().push(await response.text());
  expect(events.map(({ event, id }) => [event, id])).toEqual([
    ["stdout", "3:6"],
    ["stdout", "4:6"],
    ["end", "4:6"],
  ]);
});

/** From offset `offset` of run 1 on, all runs. */
function followAll({ store, events }: ApiGateway, offset: number): AsyncGenerator<LogItem, void> {
  const reading = {
    store,
    events,
    logs: new SharedLogs({ store, events }),
    task: taskId("a"),
    selection: "all",
    stream: undefined,
    offset,
    fromRun: 1,
    isFollowing: true,
  } as const;
  return followLog(reading, AbortSignal.timeout(60_000));
}

test.each([
  ["that nothing was read of", 0, []],
  ["that something was read of", 2, [["run-end", 1]]],
])("a run %s is passed over at once when it is forgotten", async (_, offset, before) => {
  await using gateway = await withForgotten();
  const read: [string, number | undefined][] = [];
  for await (const item of followAll(gateway, offset)) {
    read.push([item.kind, item.run]);
    if (read.length === before.length + 4) break;
  }
  expect(read).toEqual([...before, ["chunks", 3], ["run-end", 3], ["chunks", 4], ["run-end", 4]]);
});

test("a run that is forgotten while it is read ends for its reader before the next one begins", async () => {
  await using gateway = await ApiGateway.open();
  await gateway.client().submit({ wasm: guestBytes("hello"), id: "a", cron: "0 0 1 * *", repeats: 0 });
  const first = await gateway.start("a", 1);
  // The second byte is the beginning of a character that never comes.
  await gateway.write(first, "stdout", Uint8Array.of(0x61, 0xc3));
  const items = followAll(gateway, 0);
  expect((await items.next()).value).toMatchObject({ kind: "chunks", run: 1 });
  await gateway.succeed(first);
  const second = await gateway.start("a", 2);
  await gateway.write(second, "stdout", "two\n");
  await gateway.succeed(second);
  expect(await gateway.store.forgetRuns(Date.now() + LATER_MS, 1, 0)).toMatchObject({ forgotten: 1 });
  expect((await items.next()).value).toEqual({ kind: "run-end", run: 1, outputBytes: 2 });
  expect((await items.next()).value).toMatchObject({ kind: "chunks", run: 2 });
  await items.return();
});
