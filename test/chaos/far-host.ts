/**
 * A second host with a cable that can be pulled: a network namespace behind a veth pair. For a process that is itself in a
 * user and network namespace of its own (`unshare -rn`), so that nothing of the machine is touched.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

export interface FarHost extends AsyncDisposable {
  /** Put before a command, it runs there. */
  readonly wrapper: readonly string[];
  /** Nothing comes through any more, and nobody is told. */
  cut(): void;
  mend(): void;
}

/** The near end's address. */
const NEAR = "10.78.0.1";

export async function openFarHost(): Promise<FarHost> {
  sh("ip link set lo up");
  const holder = spawn("unshare", ["-n", "sh", "-c", "echo held && exec sleep 100000"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(holder.stdout, "data");
  const enter = ["nsenter", "-t", String(holder.pid), "-n"];
  sh(`ip link add name cable type veth peer name cable netns ${holder.pid}`);
  sh(`ip addr add ${NEAR}/24 dev cable && ip link set cable up`);
  sh(`${enter.join(" ")} sh -c 'ip link set lo up && ip addr add 10.78.0.2/24 dev cable && ip link set cable up'`);
  return {
    wrapper: enter,
    cut: () => sh("ip link set cable down"),
    mend: () => sh("ip link set cable up"),
    [Symbol.asyncDispose]: async () => {
      const exited = once(holder, "exit");
      holder.kill("SIGKILL");
      await exited;
    },
  };
}

function sh(script: string): void {
  execFileSync("sh", ["-c", script], { stdio: "pipe" });
}
