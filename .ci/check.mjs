/**
 * The gate: runs every check there is, shows what each has to say, and fails if one fails. `--no-tests` leaves out the
 * tests, for a caller that has just run them; names of checks run only these: `npm run check -- lint layers`.
 */
import { spawnSync } from "node:child_process";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const checks = [
  // Not the program of that name: the older compiler, which the schemas' generator needs, has one too.
  { name: "types", file: "node_modules/typescript/bin/tsc", args: ["--noEmit", "-p", "."] },
  { name: "lint", program: "oxlint", args: ["--type-aware", "--deny-warnings", "--report-unused-disable-directives"] },
  { name: "format", program: "prettier", args: ["--check", "."] },
  { name: "unused", program: "knip", args: [] },
  { name: "layers", program: "vitest", args: ["run", "test/layers.test.ts"] },
  { name: "schema", file: "schema/generate.mjs", args: ["--check"] },
  { name: "package", file: ".ci/package.mjs", args: [] },
  { name: "docker", file: ".ci/docker.mjs", args: [] },
  { name: "tests", program: "vitest", args: ["run"] },
];

const given = process.argv.slice(2);
const wanted = given.filter((argument) => !argument.startsWith("--"));
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name));
if (unknown.length > 0 || given.some((argument) => argument.startsWith("--") && argument !== "--no-tests")) {
  console.error(`check: expected --no-tests or names of checks: ${checks.map((check) => check.name).join(", ")}`);
  process.exit(2);
}

const failures = [];
for (const { name, program, file, args } of checks) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  // The tests hold the layer test.
  if (wanted.length === 0 && name === (given.includes("--no-tests") ? "tests" : "layers")) continue;
  const script = file ?? realpathSync(join(root, "node_modules", ".bin", program));
  console.log(`\n── ${name}: ${[program ?? file, ...args].join(" ")}`);
  const startedAt = Date.now();
  const { status, signal } = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  if (status === 0) console.log(`── ${name}: ok, ${seconds} s`);
  else {
    console.log(`── ${name}: FAILED (${signal ?? `exit code ${status}`}), ${seconds} s`);
    failures.push(name);
  }
  if (signal === "SIGINT") process.exit(130);
}

console.log(failures.length === 0 ? "\ncheck: everything is in order" : `\ncheck: failed: ${failures.join(", ")}`);
process.exit(failures.length === 0 ? 0 : 1);
