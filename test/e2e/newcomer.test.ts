/** What somebody does who has the README and nothing else: its own lines are run, with the addresses of the test. */
import { execFile, spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { COMPILE_CACHE } from "../support/command-line.ts";
import { Cluster, eventually } from "../support/processes.ts";
import { noHostsBecause, openTwoHosts } from "../support/two-hosts.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const README = await readFile(`${ROOT}README.md`, "utf8");
const MINUTES = 60_000;

/** The lines of a section's code, without comments. */
function linesOf(heading: string): readonly string[] {
  const section = README.split(/^##+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? "";
  return [...section.matchAll(/^ {4}(.*)$/gm)].map(([, line = ""]) => line.replace(/\s+# .*$/, ""));
}

/** The words of a command of that section. Throws when the README has no such line: it, or this test, is out of date. */
function words(heading: string, command: string): readonly string[] {
  if (!linesOf(heading).includes(`npx capmesh ${command}`)) {
    throw new Error(`"${heading}" in the README does not have: npx capmesh ${command}`);
  }
  return command.split(" ");
}

const hasCurl = spawnSync("curl", ["--version"]).status === 0;

test.runIf(hasCurl)("the lines that submit a task do what the README says", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const up = cluster.start({ args: ["up", "--slots", "2", "--no-mdns", "--http", "127.0.0.1:0"] });
  const { http = "" } = await up.ready;
  const script = linesOf("Submit a task").join("\n").replaceAll("http://127.0.0.1:8080", http);
  const program = `npx() { shift; "${process.execPath}" "${ROOT}src/cli/main.ts" "$@"; }\n${script}`;
  const { stdout } = await promisify(execFile)("sh", ["-c", program], {
    cwd: ROOT,
    env: { PATH: process.env["PATH"], HOME: cluster.folder, CAPMESH_URL: http, NODE_COMPILE_CACHE: COMPILE_CACHE },
  });
  // Submitted, looked at, its runs looked at, cancelled, deleted; then the two runs, and the lists.
  expect(stdout).toMatch(/^\{"id":"task1",.*"state":"scheduled".*\}\{"id":"task1"/);
  expect(stdout).toContain('"state":"cancelled"');
  expect(stdout).toMatch(/2832\nhello from a guest\narg 1 --exit\narg 2 7\n7\nID +STATE/);
  expect(stdout).toMatch(/^12D3\w+ +ready +0\/2/m);
});

test(
  "two machines, a task followed and cancelled, and a colleague who may look",
  { timeout: 2 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    await using stack = new AsyncDisposableStack();
    const reason = noHostsBecause();
    if (reason !== undefined) console.log(`newcomer: on one host, ${reason}`);
    const hosts = reason === undefined ? stack.use(await openTwoHosts()) : { first: [], second: [] };
    const elsewhere = { HOME: `${cluster.folder}/second`, XDG_RUNTIME_DIR: `${cluster.folder}/second/run` };
    const [machines, colleague] = ["Two machines", "A colleague who may look"];

    const gatewayWords = words(colleague, "--gateway --http 0.0.0.0:8080");
    const port = reason === undefined ? "8080" : "0";
    const gateway = cluster.start({
      args: gatewayWords.map((word) => word.replace(/8080$/, port)),
      wrapper: hosts.first,
    });
    const { dial = "", http = "", tokenFile = "" } = await gateway.ready;
    const url = http.replace("0.0.0.0", reason === undefined ? "10.77.0.1" : "127.0.0.1");
    const dialWords = words(machines, "--dial '<peerId>#<secret>'");
    await cluster.start({ args: [dialWords[0] ?? "", dial], wrapper: hosts.second, env: elsewhere }).ready;

    const admin = { CAPMESH_URL: url, CAPMESH_TOKEN: (await readFile(tokenFile, "utf8")).trim() };
    const ask = (section: string, command: string) =>
      cluster.run({ args: words(section, command), wrapper: hosts.first, env: admin, cwd: ROOT });
    await eventually(async () => {
      const { stdout } = await ask(machines, "worker ls");
      return /"status":"ready"/.test(stdout) ? true : undefined;
    });
    const submit = "run wasm-tasks/hello/hello.wasm --id nightly --start 2s --delay 5s --repeats 10 --detach";
    expect(await ask(machines, submit)).toMatchObject({ code: 0 });
    const followed = await ask(machines, "task logs nightly -f");
    expect(followed).toMatchObject({ code: 0, stdout: expect.stringContaining("hello from a guest") });

    const made = await ask(colleague, "token create --can read --for 30d --label anna");
    const { token } = parseToken(made.stdout);
    const look = (command: string) =>
      cluster.run({
        args: words(colleague, command).map((word) => (word === "hello.wasm" ? "wasm-tasks/hello/hello.wasm" : word)),
        wrapper: hosts.second,
        env: { ...elsewhere, CAPMESH_URL: url, CAPMESH_TOKEN: token },
        cwd: ROOT,
      });
    expect(await look("task ls")).toMatchObject({ code: 0, stdout: expect.stringContaining('"id":"nightly"') });
    const refused = await look("run hello.wasm");
    expect(refused).toMatchObject({
      code: 4,
      stdout: "",
      stderr: expect.stringContaining("needs a token that can submit"),
    });

    expect(await ask(machines, "task cancel nightly")).toMatchObject({ code: 0 });
  },
);

function parseToken(text: string): { readonly token: string } {
  return JSON.parse(text) as { readonly token: string };
}
