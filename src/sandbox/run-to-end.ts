/** Runs a program of ours that does one thing and ends, such as a probe: for the few bytes that it prints. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { messageOf } from "../base/errors.ts";
import { WALL_REASON_LENGTH_MAX } from "../base/limits.ts";
import { parsePipe } from "./child-pipes.ts";

export interface RunToEndInit {
  /** The program's path and arguments. */
  readonly command: readonly string[];
  readonly cwd: string;
  /** What it reads from stdin; undefined: it has none. */
  readonly input?: string | undefined;
  /** After which it is killed. */
  readonly timeoutMs: number;
}

export interface RanToEnd {
  /** Its exit code, the signal that ended it, or that it was not started. */
  readonly exitCode: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Never rejects: that it could not be started is an end as well. */
export async function runToEnd({ command, cwd, input, timeoutMs }: RunToEndInit): Promise<RanToEnd> {
  const [file = "", ...args] = command;
  try {
    const child = spawn(file, args, {
      env: {},
      cwd,
      stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    const closed = new Promise<number | string>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => resolve(code ?? signal ?? "nothing known"));
    });
    if (input !== undefined) parsePipe(child, 0).end(input);
    const printed = [text(parsePipe(child, 1)), text(parsePipe(child, 2))] as const;
    const [exitCode, stdout, stderr] = await Promise.all([closed, ...printed]);
    return { exitCode, stdout, stderr };
  } catch (error) {
    return { exitCode: "not started", stdout: "", stderr: messageOf(error) };
  }
}

/** What went wrong with it, in one sentence without a full stop. */
export function describeEnd({ exitCode, stderr }: RanToEnd): string {
  const said = stderr.trim().replaceAll("\n", "; ").slice(0, WALL_REASON_LENGTH_MAX);
  return said === "" ? `it ended with ${exitCode}` : said;
}
