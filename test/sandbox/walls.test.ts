import { describe, expect, test } from "vitest";
import { WALL_NAMES, walledCommand, type WallName } from "../../src/sandbox/walls.ts";

const tools = { sh: "/bin/sh", setpriv: "/usr/bin/setpriv", unshare: "/usr/bin/unshare", mount: "/usr/bin/mount" };
const limits = { dataBytes: 4_096_000, descriptors: 32 };
const program = ["/usr/bin/node", "main.mjs"];

function commandFor(...names: readonly WallName[]): string {
  return walledCommand({ walls: new Set(names), tools, mountPoint: "/mnt", limits, program }).join(" ");
}

describe("the command that puts a program behind walls", () => {
  test("is the program, told that it is what was started, on a machine without a shell", () => {
    const none = { sh: undefined, setpriv: undefined, unshare: undefined, mount: undefined };
    const command = walledCommand({ walls: new Set(WALL_NAMES), tools: none, mountPoint: undefined, limits, program });
    expect(command).toEqual([...program, "0"]);
  });

  test("without walls has the shell alone, and no limits", () => {
    const command = commandFor();
    expect(command).toMatch(/^\/bin\/sh -c /);
    expect(command).not.toMatch(/ulimit|unshare|setpriv|mount/);
  });

  test("limits what the kernel can limit, and no number of processes where all of the user's would count", () => {
    const command = commandFor("resource-limits");
    expect(command).toContain("ulimit -c 0");
    expect(command).toContain("ulimit -f 0");
    expect(command).toContain("ulimit -n 32");
    expect(command).toContain("ulimit -d 4000");
    expect(command).not.toContain("ulimit -u");
  });

  test("mounts the cell before files can no longer be written", () => {
    const command = commandFor(...WALL_NAMES);
    expect(command.indexOf("mount -c -a")).toBeGreaterThan(0);
    expect(command.indexOf("mount -c -a")).toBeLessThan(command.indexOf("ulimit -f 0"));
    expect(command).toContain("--user --root=/mnt /usr/bin/node main.mjs");
  });

  test("leaves the files as they are where the cell cannot be mounted", () => {
    const walls = new Set(WALL_NAMES);
    const command = walledCommand({ walls, tools, mountPoint: undefined, limits, program }).join(" ");
    expect(command).not.toMatch(/mount|--root/);
    expect(command).toContain("--pid --fork --kill-child");
  });

  test("asks for the id that others see only where the process has one of its own", () => {
    expect(commandFor("user-namespace", "pid-namespace")).toContain("read -r pid");
    expect(commandFor("user-namespace")).toContain("pid=0");
  });
});
