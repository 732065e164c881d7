/** Files in and out, through a gateway and a worker as separate processes, as somebody at a terminal does it. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Cluster } from "../support/processes.ts";

test("a file goes in, what the guest leaves is kept, and is the next task's input", { timeout: 120_000 }, async () => {
  await using cluster = await Cluster.create();
  const gateway = await cluster.gateway();
  const worker = cluster.worker(gateway.ready.peerId);
  await worker.ready;
  const url = ["--url", gateway.ready.http ?? ""];
  const folder = join(cluster.folder, "work");
  await mkdir(folder, { recursive: true });
  const input = join(folder, "in.txt");
  await writeFile(input, "what goes in");
  const guest = join(import.meta.dirname, "../worker/runner/guests/copy.wasm");
  const first = ["run", guest, "--id", "first", "--file", `${input}:data/in.txt`, "--output", "out/**", ...url];
  expect(await cluster.run({ args: [...first, "--", "data/in.txt", "out/copy.txt"] })).toMatchObject({ code: 0 });
  const second = ["run", guest, "--id", "second", "--file", "@first/out/copy.txt", "--output", "*.txt", ...url];
  expect(await cluster.run({ args: [...second, "--", "out/copy.txt", "again.txt"] })).toMatchObject({ code: 0 });
  const fetched = join(folder, "fetched");
  const files = await cluster.run({ args: ["task", "files", "second", "--out-dir", fetched, ...url] });
  expect(JSON.parse(files.stdout)).toMatchObject([{ path: "again.txt", bytes: 12 }]);
  expect(await readFile(join(fetched, "again.txt"), "utf8")).toBe("what goes in");
});
