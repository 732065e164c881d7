/**
 * Builds the package: `dist/` holds the sources as JavaScript with their types, and what they read at run time. Run by
 * `npm run build`, and by `npm pack`.
 */
import { spawnSync } from "node:child_process";
import { cpSync, globSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");

rmSync(dist, { recursive: true, force: true });
// Not `.bin/tsc`, which may be the older compiler that the schemas' generator needs.
const compiler = realpathSync(join(root, "node_modules/typescript/bin/tsc"));
const { status } = spawnSync(process.execPath, [compiler, "-p", join(root, "src/tsconfig.build.json")], {
  stdio: "inherit",
});
if (status !== 0) process.exit(status ?? 1);
cpSync(join(root, "src/gateway/http/page"), join(dist, "gateway/http/page"), { recursive: true });
cpSync(join(root, "src/cli/lifeline.mjs"), join(dist, "cli/lifeline.mjs"));
// The compiler rewrites the imports of JavaScript, and leaves those of types as they are.
for (const path of globSync(join(dist, "**/*.d.ts"))) {
  writeFileSync(path, readFileSync(path, "utf8").replaceAll(/((?:from |import\(|import )"\.[^"]*)\.ts"/g, '$1.js"'));
}
