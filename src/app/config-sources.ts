/** What settings are made of: the sources `loadConfig` decides on, and the types of values that have no other home. */
import type { SettingKey } from "./config-settings.ts";

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";
export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error", "silent"];

/** `pretty` is for people: coloured on a terminal, plain text elsewhere. */
export type LogFormat = "pretty" | "json";

export interface HostPort {
  /** Without brackets. */
  readonly host: string;
  /** 0 to 65535. */
  readonly port: number;
}

/** What the command line gave: text for settings that take a value, a list for repeatable ones, or a switch. */
export type FlagValue = string | boolean | readonly string[];

export interface SettingsFile {
  readonly path: string;
  readonly kind: "project" | "user";
  /** The file's parsed JSON. */
  readonly content: unknown;
}

export interface ConfigSources {
  readonly flags: Readonly<Partial<Record<SettingKey, FlagValue | undefined>>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly files: readonly SettingsFile[];
  readonly machine: Machine;
}

/** What defaults depend on. */
export interface Machine {
  readonly cores: number;
  readonly home: string;
  readonly workingFolder: string;
}
