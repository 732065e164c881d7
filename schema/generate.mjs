// Compiles schema/*.capnp to src/generated with Debian's `capnp` and capnp-es. `--check` fails if the committed
// output differs, and skips, saying so, where `capnp` is not installed. Nobody needs this to build or test.
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { registerHooks } from "node:module";

// The generator drives the TypeScript compiler's API, which TypeScript 7 no longer has.
registerHooks({
  resolve: (specifier, context, next) => next(specifier === "typescript" ? "typescript-5" : specifier, context),
});
const { compileAll } = await import("capnp-es/compiler");

const schemaFolder = new URL("./", import.meta.url);
const generatedFolder = new URL("../src/generated/", import.meta.url);
const isCheck = process.argv.includes("--check");
const sources = readdirSync(schemaFolder)
  .filter((name) => name.endsWith(".capnp"))
  .sort();

let request;
try {
  request = execFileSync("capnp", ["compile", "-o-", "--src-prefix=.", ...sources], {
    cwd: schemaFolder,
    env: { PATH: process.env.PATH },
    maxBuffer: 1 << 26,
  });
} catch (error) {
  if (error.code !== "ENOENT" || !isCheck) throw error;
  console.log("schema: skipped, `capnp` is not installed (Debian package capnproto)");
  process.exit(0);
}

const { files } = await compileAll(request, { ts: true, dts: false, js: false });
let stale = 0;
for (const [name, content] of files) {
  const path = new URL(name.replace(/^.*\//, ""), generatedFolder);
  // The output does not pass exactOptionalPropertyTypes and noImplicitOverride.
  const text = `// @ts-nocheck\n${content.replaceAll(/(from "\.\/[\w-]+)\.js"/g, '$1.ts"')}`;
  if (!isCheck) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    console.error(`schema: ${path.pathname} is stale; run \`npm run schema\``);
    stale++;
  }
}
process.exit(stale === 0 ? 0 : 1);
