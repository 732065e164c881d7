/**
 * The package as those get it who install it: it is packed, linted, installed into an empty project and used there, on
 * its own and by the programs of test/examples. Where no registry can be reached, the clone's packages stand in for its
 * dependencies, those alone that are no development's.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { StepError, plainEnvironment, root, run, scratchFolder, start, step } from "./steps.mjs";

const TARBALL_BYTES_MAX = 1024 * 1024;
const BUNDLE_BYTES_MAX = 200 * 1024;
const OFFLINE = /EAI_AGAIN|ECONNREFUSED|ECONNRESET|ENETUNREACH|ENOTFOUND|ENOTCACHED|ETIMEDOUT|FETCH_ERROR/;

/** What is read at run time and imported by nothing. */
const NEEDED = [
  "dist/sdk/worker.js",
  "dist/cli/lifeline.mjs",
  "dist/cli/main.js",
  "dist/gateway/http/page/page.html",
  "dist/inspect/child/main.js",
  "dist/store/sqlite/thread-entry.js",
  "dist/worker/runner/child/main.js",
  "dist/worker/runner/child/transpile.js",
  "schema/bootstrap.capnp",
  "src/cli/capmesh.mjs",
  "src/cli/launch.mjs",
  "wasm-tasks/hash/hash.wasm",
];

const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const tool = (name, path) => realpathSync(join(root, "node_modules", name, path));

await step("package", async (say) => {
  using scratch = scratchFolder("package");
  const tarball = await pack(scratch.path, say);
  await run(process.execPath, [tool("publint", "src/cli.js"), "run", tarball, "--strict"]);
  await run(process.execPath, [tool("@arethetypeswrong/cli", "dist/index.js"), tarball, "--profile", "esm-only"]);
  say("publint and attw find nothing");
  const project = join(scratch.path, "project");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), '{ "name": "project", "private": true, "type": "module" }\n');
  await install(project, tarball, say);
  for (const name of readdirSync(join(root, "test/examples"))) {
    cpSync(join(root, "test/examples", name), join(project, name));
  }
  await checkTypes(project);
  say("types compile in a project, for Node and for browsers");
  await use(project, scratch.path, say);
});

async function pack(folder, say) {
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder]);
  // What `prepack` says comes first.
  const parsed = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)));
  const { filename, files, size } = parsed[0] ?? parsed.capmesh;
  const paths = files.map(({ path }) => path);
  const missing = NEEDED.filter((path) => !paths.includes(path));
  if (missing.length > 0) throw new StepError(`not in the tarball: ${missing.join(", ")}`);
  // Node strips no types inside node_modules.
  const sources = paths.filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"));
  if (sources.length > 0) throw new StepError(`sources in the tarball: ${sources.join(", ")}`);
  if (size > TARBALL_BYTES_MAX) throw new StepError(`the tarball has ${size} bytes, more than ${TARBALL_BYTES_MAX}`);
  say(`packed: ${paths.length} files, ${Math.round(size / 1024)} KiB`);
  return join(folder, filename);
}

/** Without scripts: the one there is fetches a Node for those who have an older one. */
async function install(project, tarball, say) {
  const options = ["--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"];
  const args = ["install", ...options, tarball];
  const { code, stderr } = await run("npm", args, { cwd: project, isFailureFine: true });
  if (code === 0) return say("installed into an empty project");
  if (!OFFLINE.test(stderr)) throw new StepError(`npm install ended with ${code}:\n${stderr}`);
  const home = join(project, "node_modules/capmesh");
  mkdirSync(join(project, "node_modules/.bin"), { recursive: true });
  await run("tar", ["-xzf", tarball, "-C", join(project, "node_modules")]);
  await run("mv", [join(project, "node_modules/package"), home]);
  symlinkSync("../capmesh/src/cli/capmesh.mjs", join(project, "node_modules/.bin/capmesh"));
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  for (const [path, { dev }] of Object.entries(packages)) {
    const isOwn = /^node_modules\/(?:@[^/]+\/)?[^/]+$/.test(path) && !dev;
    if (!isOwn || statSync(join(root, path), { throwIfNoEntry: false }) === undefined) continue;
    mkdirSync(dirname(join(project, path)), { recursive: true });
    symlinkSync(realpathSync(join(root, path)), join(project, path));
  }
  say("no registry can be reached: unpacked, with the clone's packages as its dependencies");
}

/** All that it exports, declarations of dependencies included. */
async function checkTypes(project) {
  writeFileSync(
    join(project, "browser.ts"),
    'import { connect } from "capmesh";\nconst tasks: AsyncIterable<object> = connect("http://127.0.0.1").tasks();\nconsole.log(tasks);\n',
  );
  const base = { target: "esnext", strict: true, noEmit: true, skipLibCheck: false };
  const configs = {
    node: {
      compilerOptions: { ...base, lib: ["esnext", "dom"], module: "nodenext", types: ["node"], skipLibCheck: true },
      include: ["*.ts"],
      exclude: ["browser.ts"],
    },
    browser: {
      compilerOptions: {
        ...base,
        lib: ["esnext", "dom", "dom.iterable", "dom.asynciterable"],
        module: "esnext",
        moduleResolution: "bundler",
        customConditions: ["browser"],
        types: [],
      },
      files: ["browser.ts"],
    },
  };
  // Nobody writes for Node without them; some dependency may have brought them.
  const nodeTypes = join(project, "node_modules/@types/node");
  mkdirSync(dirname(nodeTypes), { recursive: true });
  if (!existsSync(nodeTypes)) symlinkSync(tool("@types/node", ""), nodeTypes);
  for (const [name, config] of Object.entries(configs)) {
    const path = join(project, `tsconfig.${name}.json`);
    writeFileSync(path, JSON.stringify(config));
    await run(process.execPath, [tool("typescript", "bin/tsc"), "-p", path], { cwd: project });
  }
}

async function use(project, scratch, say) {
  const home = join(scratch, "home");
  mkdirSync(home);
  const options = { cwd: project, env: plainEnvironment({ HOME: home, XDG_RUNTIME_DIR: home }) };
  const told = await run("npx", ["capmesh", "--version"], options);
  if (told.stdout !== `${version}\n`) throw new StepError(`\`npx capmesh --version\` says ${told.stdout}`);
  const rpc = `unix:${join(scratch, "rpc.sock")}`;
  const upArgs = ["up", "--json", "--no-mdns", "--slots", "2", "--rpc", rpc];
  const listen = ["--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--data", join(scratch, "gateway")];
  // oxlint-disable-next-line typescript/await-thenable -- it is disposable; the types for plain JavaScript are older
  await using up = await start("npx", ["capmesh", ...upArgs, ...listen], options);
  const { http } = up.ready;
  say(`\`npx capmesh up\` is ready at ${http}`);
  const guest = (name) => join(project, `node_modules/capmesh/wasm-tasks/${name}/${name}.wasm`);
  const capmesh = (...args) => run("npx", ["capmesh", ...args], { ...options, isFailureFine: true });
  expectText(await capmesh("run", "--url", http, guest("hash"), "--input", "0", "--difficulty", "3"), /^2832$/m);
  expectText(await capmesh("run", "--url", http, guest("component")), /./);
  const page = await fetch(http);
  if (!page.ok) throw new StepError(`the status page answers ${page.status}`);
  const example = (...args) => run(process.execPath, args, options);
  expectText(await example("submit-and-follow.ts", http, guest("hello")), /succeeded after 2 completions/);
  expectText(await example("cancel-on-deadline.ts", http, guest("hash")), /cancelled after half a second/);
  expectText(await example("capabilities.ts", rpc, guest("hash")), /the reader submits nothing: forbidden/);
  const own = { ...options, env: { ...options.env, CAPMESH_DATA: join(scratch, "own"), CAPMESH_MDNS: "false" } };
  const secret = up.ready.dial.split("#")[1];
  const served = run(process.execPath, ["own-executor.ts", up.ready.addrs[0], http], {
    ...own,
    env: { ...own.env, CAPMESH_SECRET: secret },
  });
  expectText(await served, /succeeded with 3/);
  // As a bundler for browsers resolves it, without what browsers do not have.
  const browser = ["--conditions=browser", "--import", join(root, ".ci/like-a-browser.mjs")];
  expectText(await example(...browser, "submit-and-follow.ts", http, guest("hello")), /succeeded after 2/);
  say("the command line and the examples run, one of them as in a browser");
  const bytes = await bundle(project, http);
  say(`a bundle for browsers has ${Math.round(bytes / 1024)} KiB, and lists the tasks`);
}

/** What a bundler makes of the browser's side. Its size is what a page pays. */
async function bundle(project, http) {
  // Below node_modules it gets none of what is Node alone.
  const [entry, out] = [join(project, "entry.mjs"), join(project, "node_modules", "bundle.mjs")];
  writeFileSync(
    entry,
    `import { connect } from "capmesh";\nfor await (const { state } of connect("${http}").tasks()) console.log(state);\n`,
  );
  const options = ["--platform", "browser", "--format", "esm", "--minify", "--file", out];
  await run(process.execPath, [tool("rolldown", "bin/cli.mjs"), entry, ...options], { cwd: project });
  const { size } = statSync(out);
  if (size > BUNDLE_BYTES_MAX) throw new StepError(`a bundle has ${size} bytes, more than ${BUNDLE_BYTES_MAX}`);
  expectText(await run(process.execPath, ["--import", join(root, ".ci/like-a-browser.mjs"), out]), /^succeeded$/m);
  return size;
}

function expectText({ code, stdout, stderr }, pattern) {
  if (code === 0 && pattern.test(stdout)) return;
  throw new StepError(`expected ${String(pattern)} and 0, got ${code}:\n${stdout}${stderr}`);
}
