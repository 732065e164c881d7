/**
 * Many readers of one log, each over a connection of its own, in a process of their own: what they cost is not the
 * gateway's. Lines are `<number> <sent at>`, numbered from 1. It says in lines of JSON when all are connected, and in the
 * end how late lines were, in milliseconds, and how many readers have missed one or got it twice or out of order.
 *
 *     node log-followers-process.ts <url of the log> <readers>
 */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { SseParser } from "../../src/api/sse.ts";
import type { LogTextJson } from "../../src/api/log-event.ts";
import { percentile } from "../bench/measure.ts";

const [url = "", countText = "1"] = process.argv.slice(2);
const late: number[] = [];
let wrong = 0;

/** It is ours: to check it would cost this process more than all the rest. */
function parseLogText(data: string): LogTextJson {
  return JSON.parse(data) as LogTextJson;
}

async function open(): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(url, { agent: false, headers: { accept: "text/event-stream" } }, resolve)
    .on("error", reject)
    .end();
  return promise;
}

/** Resolves with how many lines came, or 0 if they were not all of them in order. */
async function follow(stream: IncomingMessage): Promise<number> {
  const parser = new SseParser();
  let lines = 0;
  let isRight = true;
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (piece: string) => {
    const now = performance.timeOrigin + performance.now();
    for (const { event, data } of parser.push(piece)) {
      if (event !== "stdout") continue;
      const texts = (rest + parseLogText(data).text).split("\n");
      rest = texts.pop() ?? "";
      for (const text of texts) {
        const [number, sentAt] = text.split(" ").map(Number);
        isRight &&= number === ++lines;
        late.push(now - (sentAt ?? 0));
      }
    }
  });
  await once(stream, "close");
  return isRight ? lines : 0;
}

const streams: Promise<number>[] = [];
while (streams.length < Number(countText)) {
  const batch = await Promise.all(Array.from({ length: Math.min(50, Number(countText) - streams.length) }, open));
  streams.push(...batch.map(follow));
}
console.log(JSON.stringify({ ready: streams.length }));
const counts = await Promise.all(streams);
const lines = Math.max(...counts);
wrong = counts.filter((count) => count !== lines).length;
const [p50, p99, max] = [0.5, 0.99, 1].map((share) => percentile(late, share));
console.log(JSON.stringify({ lines, deliveries: late.length, wrong, p50, p99, max }));
