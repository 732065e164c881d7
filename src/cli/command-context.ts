/**
 * What every command begins with: its flags, the settings they make with environment and files, output, and a client of
 * the gateway. `defineSettings` gives a command the flags of settings; `contextOf` reads them back.
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { readConfigSources } from "../app/config-files.ts";
import { type LoadedConfig, loadConfig } from "../app/config.ts";
import type { FlagValue } from "../app/config-sources.ts";
import { type SettingKey, settingKeys, settingOf } from "../app/config-settings.ts";
import { CapmeshClient } from "../client/client.ts";
import { Output } from "./output.ts";

/** Flags of commands that talk to a gateway. */
export const CLIENT_SETTINGS = ["url", "token", "json"] as const satisfies readonly SettingKey[];

/** Flags of commands that run a gateway, a worker or both: all that are no client's. */
export function processSettings(): readonly SettingKey[] {
  return settingKeys().filter((key) => key !== "url");
}

/** The settings among a command's flags: it may have a flag of its own that is named as some other setting is. */
const SETTINGS_OF = new WeakMap<Command, ReadonlySet<SettingKey>>();

export function defineSettings(command: Command, keys: readonly SettingKey[]): Command {
  SETTINGS_OF.set(command, new Set(keys));
  for (const key of keys) {
    const setting = settingOf(key);
    if (setting.hasNoFlag) continue;
    const option = new Option(
      flagsOf(key),
      key === "mdns" ? "no multicast: do not look for peers by mDNS" : setting.help,
    );
    if (setting.isList) option.argParser(collect);
    option.helpGroup("Options:");
    command.addOption(option);
  }
  return command;
}

function flagsOf(key: SettingKey): string {
  const { valueName } = settingOf(key);
  if (key === "mdns") return "--no-mdns";
  // `--gateway true` is an old spelling of `--gateway`.
  if (key === "gateway") return "--gateway [true]";
  return valueName === undefined ? `--${key}` : `--${key} <${valueName}>`;
}

/** For options that may be given several times. */
export function collect(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

/** For options that count something. */
export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError("Expected a whole number above 0.");
  return Number(text);
}

export interface CommandContext extends LoadedConfig {
  readonly output: Output;
  readonly client: CapmeshClient;
}

/** @throws ClusterError with code `usage` when a setting is wrong. */
export function contextOf(command: Command): CommandContext {
  const loaded = loadConfig({ ...readConfigSources(process.env, process.cwd()), flags: settingFlags(command) });
  const { config } = loaded;
  const output = new Output({ isJson: config.json, env: process.env });
  return { ...loaded, output, client: new CapmeshClient({ url: config.url, token: config.token }) };
}

/** Settings that were given as flags, to the command or to one above it; the nearest wins. */
function settingFlags(command: Command): Partial<Record<SettingKey, FlagValue>> {
  const flags: Partial<Record<SettingKey, FlagValue>> = {};
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const key of SETTINGS_OF.get(at) ?? []) {
      const name = key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
      if (at.getOptionValueSource(name) !== "cli" || flags[key] !== undefined) continue;
      const value = parseFlagValue(at.getOptionValue(name));
      if (value !== undefined) flags[key] = value;
    }
  }
  return flags;
}

function parseFlagValue(value: unknown): FlagValue | undefined {
  if (typeof value === "string" || typeof value === "boolean") return value;
  return Array.isArray(value) ? value.map(String) : undefined;
}
