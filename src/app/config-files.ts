/** Reads what `loadConfig` decides on: the two settings files and the machine. Nothing is written. */
import { readFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import { SETTINGS_FILE_BYTES_MAX } from "../base/limits.ts";
import type { ConfigSources, Machine, SettingsFile } from "./config-sources.ts";

/** Everything but the flags. A file that is not there is left out; one that cannot be read is an error. */
export function readConfigSources(
  env: Readonly<Record<string, string | undefined>>,
  workingFolder: string,
): Omit<ConfigSources, "flags"> {
  const machine: Machine = { cores: availableParallelism(), home: homedir(), workingFolder };
  const project = readSettingsFile(join(workingFolder, "capmesh.json"), "project");
  const user = readSettingsFile(join(machine.home, ".config", "capmesh", "config.json"), "user");
  return { env, machine, files: [project, user].filter((file) => file !== undefined) };
}

function readSettingsFile(path: string, kind: SettingsFile["kind"]): SettingsFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && (cause.code === "ENOENT" || cause.code === "ENOTDIR")) {
      return undefined;
    }
    throw failed(`${path}: cannot be read; check its permissions, or remove it`, { code: "usage", cause });
  }
  if (text.length > SETTINGS_FILE_BYTES_MAX) {
    throw failed(`${path}: more than ${SETTINGS_FILE_BYTES_MAX} characters; this is no settings file`, {
      code: "usage",
    });
  }
  try {
    const content: unknown = JSON.parse(text);
    return { path, kind, content };
  } catch (cause) {
    throw failed(`${path}: not valid JSON (${cause instanceof Error ? cause.message : "unreadable"})`, {
      code: "usage",
      cause,
    });
  }
}
