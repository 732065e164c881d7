/**
 * Small networks that exist only for a test: two machines joined by a cable, as network namespaces of their own, so that
 * no packet leaves this machine and none comes in. They need no root, only a kernel that allows user namespaces.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { messageOf } from "../../src/base/errors.ts";

const run = promisify(execFile);

/** One machine of the network. */
export interface Machine {
  readonly address: string;
  /** The program and its arguments that run another program on this machine. */
  readonly through: readonly string[];
  run(command: string): Promise<string>;
  /** UDP ports that somebody listens on. */
  udpPorts(): Promise<number[]>;
}

export interface Network extends AsyncDisposable {
  readonly left: Machine;
  readonly right: Machine;
}

/** Two machines, 10.77.0.1 and 10.77.0.2, with a cable and loopback. Without a route for multicast unless asked for. */
export async function openNetwork({ hasMulticastRoute = true, hasIPv6 = true } = {}): Promise<Network> {
  const stack = new AsyncDisposableStack();
  try {
    const left = await hold(stack, "10.77.0.1", ["unshare", "-rn"]);
    const right = await hold(stack, "10.77.0.2", [
      "nsenter",
      "-t",
      `${left.pid}`,
      "-U",
      "-n",
      "--preserve-credentials",
      "unshare",
      "-n",
    ]);
    await left.machine.run(`ip link add cable-left type veth peer name cable-right netns ${right.pid}`);
    const ends = [
      { machine: left.machine, cable: "cable-left", address: left.machine.address },
      { machine: right.machine, cable: "cable-right", address: right.machine.address },
    ];
    for (const { machine, cable, address } of ends) {
      await machine.run(`ip link set lo up && ip addr add ${address}/24 dev ${cable} && ip link set ${cable} up`);
      if (!hasIPv6) await machine.run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
      if (hasMulticastRoute) await machine.run(`ip route add 224.0.0.0/4 dev ${cable}`);
    }
    return { left: left.machine, right: right.machine, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}

/** Why such networks cannot be made here; undefined if they can. */
export async function whyNoNetworks(): Promise<string | undefined> {
  try {
    await using network = await openNetwork();
    await network.left.run("true");
    return undefined;
  } catch (error) {
    return `network namespaces are not allowed here: ${messageOf(error).trim()}`;
  }
}

/** A process that keeps a namespace alive. */
async function hold(
  stack: AsyncDisposableStack,
  address: string,
  through: readonly string[],
): Promise<{ readonly pid: number; readonly machine: Machine }> {
  const [command = "", ...args] = through;
  // The holder ends with its input, so that it cannot outlive the test.
  const child: ChildProcess = spawn(command, [...args, "sh", "-c", "echo held; exec cat"], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  stack.defer(async () => {
    child.kill("SIGKILL");
    await exited.catch(() => undefined);
  });
  let complaint = "";
  child.stderr?.on("data", (text: Buffer) => (complaint += text.toString()));
  if (child.stdout === null) throw new Error("no output");
  const started = await Promise.race([once(child.stdout, "data").then(() => true), exited.then(() => false)]);
  if (!started || child.pid === undefined) throw new Error(complaint === "" ? `${command} failed` : complaint);
  const { pid } = child;
  const enter = ["nsenter", "-t", `${pid}`, "-U", "-n", "--preserve-credentials"];
  const machine: Machine = {
    address,
    through: enter,
    run: async (shell) => {
      const [program = "", ...rest] = enter;
      return (await run(program, [...rest, "sh", "-c", shell])).stdout;
    },
    udpPorts: async () => {
      const table = await readFile(`/proc/${pid}/net/udp`, "latin1");
      return [...table.matchAll(/^\s*\d+: [0-9A-F]{8}:([0-9A-F]{4})/gm)].map((match) =>
        Number.parseInt(match[1] ?? "", 16),
      );
    },
  };
  return { pid, machine };
}
