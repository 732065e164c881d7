/**
 * The Dockerfile kept true: the image is built and started, by Docker where there is one that answers, else by carrying
 * out the file's instructions. A gateway has to become ready and healthy, let a worker in by the join secret, and run a
 * core module and a component, as the file's header says.
 */
import { userInfo } from "node:os";
import { join } from "node:path";
import { carryOut, copyContext, environment } from "./dockerfile.mjs";
import { StepError, plainEnvironment, root, run, scratchFolder, start, step } from "./steps.mjs";

const HEALTHY_MS_MAX = 60_000;
const SECRET = "a-secret-of-this-check";
const TOKEN = "a-token-of-this-check-0123456789";

await step("docker", async (say) => {
  const { code } = await run("docker", ["info"], { isFailureFine: true });
  if (code === 0) await withDocker(say);
  else await withoutDocker(say);
});

async function withDocker(say) {
  const image = `capmesh-check-${process.pid}`;
  await run("docker", ["build", "--tag", image, root]);
  say("built by Docker");
  const secret = ["--env", `CAPMESH_SECRET=${SECRET}`, "--env", `CAPMESH_ADMIN_TOKEN=${TOKEN}`];
  const options = ["run", "--rm", "--init", "--detach", ...secret];
  const containers = [];
  const container = async (...args) => {
    const { stdout } = await run("docker", args);
    containers.push(stdout.trim());
    return stdout.trim();
  };
  try {
    const gateway = await container(...options, "--publish", "127.0.0.1::8080", image);
    const { stdout } = await run("docker", ["port", gateway, "8080"]);
    const url = `http://${stdout.trim().split("\n")[0]}`;
    await untilHealthy(async () => (await fetch(`${url}/livez`)).ok);
    say("a gateway is ready and healthy");
    const address = await run("docker", ["inspect", "--format", "{{.NetworkSettings.IPAddress}}", gateway]);
    await container(...options, "--no-healthcheck", image, "--dial", `${address.stdout.trim()}:4077`);
    await runGuests(url, say);
  } finally {
    for (const id of containers) await run("docker", ["stop", "--timeout", "40", id], { isFailureFine: true });
    await run("docker", ["image", "rm", "--force", image], { isFailureFine: true });
  }
}

async function withoutDocker(say) {
  say("there is no Docker that answers: carrying out the Dockerfile's instructions");
  using scratch = scratchFolder("docker");
  const context = join(scratch.path, "context");
  copyContext(root, context);
  const { uid, gid } = userInfo();
  const image = await carryOut(join(root, "Dockerfile"), { context, scratch: scratch.path, user: { o: uid, g: gid } });
  const major = /^node:(\d+)-slim$/.exec(image.image)?.[1];
  if (major !== process.versions.node.split(".")[0]) {
    throw new StepError(`the image begins with ${image.image}, and this is Node ${process.versions.node}`);
  }
  say("built");
  const [program, ...args] = image.entrypoint;
  // Its ports may be taken here, and it is not alone on its network.
  const settings = { CAPMESH_JSON: "true", CAPMESH_MDNS: "false", CAPMESH_SECRET: SECRET };
  const listen = { CAPMESH_ADMIN_TOKEN: TOKEN, CAPMESH_LISTEN: "/ip4/127.0.0.1/tcp/0" };
  const command = image.command.map((word) => word.replace(/:8080$/, ":0"));
  const inImage = (more) => ({ cwd: image.workdir, env: environment(image, { ...settings, ...more }) });
  // oxlint-disable-next-line typescript/await-thenable -- it is disposable; the types for plain JavaScript are older
  await using gateway = await start(program, [...args, ...command], inImage(listen));
  const { port } = new URL(gateway.ready.http);
  const healthcheck = image.healthcheck.map((word) => word.replaceAll(":8080/", `:${port}/`));
  await untilHealthy(async () => (await run(healthcheck[0], healthcheck.slice(1), { isFailureFine: true })).code === 0);
  say(`a gateway is ready and healthy on port ${port}`);
  // Not the gateway's runtime folder, which would tell the secret to a worker of the same user.
  const own = { CAPMESH_DATA: join(scratch.path, "worker"), CAPMESH_SLOTS: "1", XDG_RUNTIME_DIR: scratch.path };
  // oxlint-disable-next-line typescript/await-thenable -- as above
  await using _worker = await start(program, [...args, "--dial", gateway.ready.addrs[0]], inImage(own));
  await runGuests(`http://127.0.0.1:${port}`, say);
}

async function untilHealthy(isHealthy) {
  const deadline = Date.now() + HEALTHY_MS_MAX;
  while (!(await isHealthy().catch(() => false))) {
    if (Date.now() > deadline) throw new StepError("the gateway does not become healthy");
    await new Promise((wake) => setTimeout(wake, 200));
  }
}

async function runGuests(url, say) {
  const env = plainEnvironment({ CAPMESH_URL: url, CAPMESH_TOKEN: TOKEN });
  for (const [name, expected, ...args] of [
    ["hash", "2832\n", "--input", "0", "--difficulty", "3"],
    ["component", "hello from a component\n"],
  ]) {
    const file = join(root, `wasm-tasks/${name}/${name}.wasm`);
    const capmesh = join(root, "src/cli/capmesh.mjs");
    const { stdout } = await run(process.execPath, [capmesh, "run", file, ...args, "--wait", "2m"], { env });
    if (stdout !== expected) throw new StepError(`${name}.wasm says ${JSON.stringify(stdout)}`);
  }
  say("a worker has joined by the secret, and runs a core module and a component");
}
