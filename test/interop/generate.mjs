/* oxlint-disable typescript/no-unsafe-call, typescript/no-unsafe-return, typescript/no-unsafe-member-access -- plain JavaScript */
// Compiles interop.capnp to interop.ts, as schema/generate.mjs does for the protocol itself.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { format } from "prettier";

registerHooks({
  resolve: (specifier, context, next) => next(specifier === "typescript" ? "typescript-5" : specifier, context),
});
const { compileAll } = await import("capnp-es/compiler");
const folder = new URL("./", import.meta.url);
const request = execFileSync("capnp", ["compile", "-o-", "--src-prefix=.", "interop.capnp"], {
  cwd: folder,
  env: { PATH: process.env.PATH },
});
const { files } = await compileAll(request, { ts: true, dts: false, js: false });
for (const [name, content] of files) {
  const text = `/* oxlint-disable */\n// @ts-nocheck\n${content}`;
  writeFileSync(
    new URL(name.replace(/^.*\//, ""), folder),
    await format(text, { parser: "typescript", printWidth: 120 }),
  );
}
