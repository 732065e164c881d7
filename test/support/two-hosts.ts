/**
 * Two hosts on one machine: two network namespaces with a cable (a veth pair) between them and nothing else, so that
 * what is multicast stays here. Needs unprivileged user namespaces, or root.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

/** Put before a command, it runs on that host. */
export interface Hosts extends AsyncDisposable {
  readonly first: readonly string[];
  readonly second: readonly string[];
}

/** Why two hosts cannot be had on this machine; undefined when they can. */
export function noHostsBecause(): string | undefined {
  try {
    execFileSync("unshare", ["-rn", "sh", "-c", "ip link add veth0 type veth peer name veth1 && nsenter --version"], {
      stdio: "pipe",
    });
    return undefined;
  } catch (error) {
    return `network namespaces are not allowed here, or \`ip\`, \`unshare\` or \`nsenter\` is missing: ${String(error)}`;
  }
}

export async function openTwoHosts(): Promise<Hosts> {
  const first = await hold(["unshare", "-rn"]);
  const enterFirst = enter(first);
  const second = await hold(["nsenter", "-t", String(first.pid), "-U", "--preserve-credentials", "unshare", "-n"]);
  const enterSecond = enter(second);
  sh(enterFirst, `ip link add name cable type veth peer name cable netns ${second.pid}`);
  for (const [host, address] of [
    [enterFirst, "10.77.0.1"],
    [enterSecond, "10.77.0.2"],
  ] as const) {
    sh(
      host,
      `ip link set lo up && ip addr add ${address}/24 dev cable && ip link set cable up && ip route add default dev cable`,
    );
  }
  return {
    first: enterFirst,
    second: enterSecond,
    [Symbol.asyncDispose]: async () => {
      for (const holder of [second, first]) {
        const exited = once(holder, "exit");
        holder.kill("SIGKILL");
        await exited;
      }
    },
  };
}

/** A process that keeps a namespace alive. It has said so when this resolves. */
async function hold(command: readonly string[]): Promise<ChildProcess> {
  const whole = [...command, "sh", "-c", "echo held && exec sleep 1000"];
  const holder = spawn(whole[0] ?? "", whole.slice(1), { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  return holder;
}

function enter(holder: ChildProcess): string[] {
  return ["nsenter", "-t", String(holder.pid), "-U", "-n", "--preserve-credentials"];
}

function sh(host: readonly string[], script: string): void {
  execFileSync(host[0] ?? "sh", [...host.slice(1), "sh", "-c", script], { stdio: "pipe" });
}
