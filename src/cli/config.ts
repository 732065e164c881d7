/** `capmesh config show`: the settings as a process started here would have them, and where each comes from. */
import type { Command } from "commander";
import type { Config, LoadedConfig } from "../app/config.ts";
import { type SettingKey, settingKeys, settingOf, withoutSecret } from "../app/config-settings.ts";
import { contextOf, defineSettings } from "./command-context.ts";

export function defineConfig(program: Command): void {
  const config = program.command("config").description("look at settings");
  const command = config
    .command("show")
    .description("every setting's value, secrets hidden")
    .option("--origin", "also where each comes from");
  defineSettings(command, settingKeys()).action(({ origin }: { origin?: boolean }) => {
    const context = contextOf(command);
    const rows = settingKeys().map((key) => settingRow(key, context));
    if (context.output.isJson) {
      const entries = rows.map(({ key, value, source, at }) => [key, origin ? { value, source, at } : value]);
      return context.output.json(Object.fromEntries(entries));
    }
    const columns = [
      { heading: "SETTING", value: (row: SettingRow) => row.key },
      { heading: "VALUE", value: (row: SettingRow) => valueText(row.value), isFlexible: true },
    ];
    const from = {
      heading: "FROM",
      value: (row: SettingRow) => (row.at === "" ? row.source : row.at),
      isFlexible: true,
    };
    context.output.table(origin ? [...columns, from] : columns, rows, "");
  });
}

interface SettingRow {
  readonly key: SettingKey;
  readonly value: unknown;
  readonly source: string;
  readonly at: string;
}

function settingRow(key: SettingKey, { config, origins }: LoadedConfig): SettingRow {
  const value = settingValue(key, config);
  return { key, value: shownValue(key, value), ...origins[key] };
}

function shownValue(key: SettingKey, value: unknown): unknown {
  if (value === undefined) return null;
  if (Array.isArray(value)) return value.map((each) => shownValue(key, each));
  if (typeof value === "string") return withoutSecret(key, value);
  return settingOf(key).isSecret ? withoutSecret(key, "") : value;
}

function settingValue(key: SettingKey, config: Config): unknown {
  switch (key) {
    case "http":
      return `${config.http.host.includes(":") ? `[${config.http.host}]` : config.http.host}:${config.http.port}`;
    case "ns":
      return config.namespace;
    case "label":
      return config.labels;
    case "admin-token":
      return config.adminToken;
    case "allow-host":
      return config.allowHosts;
    case "tls-cert":
      return config.tls?.cert;
    case "tls-key":
      return config.tls?.key;
    case "grace":
      return `${config.graceMs / 1_000}s`;
    case "retain":
      return config.retainMs === undefined ? "off" : `${config.retainMs / 1_000}s`;
    case "retain-modules":
      return config.retainModulesMs === undefined ? "off" : `${config.retainModulesMs / 1_000}s`;
    case "lease":
      return `${config.leaseMs / 1_000}s`;
    case "log-format":
      return config.logFormat;
    default:
      return config[key];
  }
}

function valueText(value: unknown): string {
  if (value === null || value === undefined) return "-";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object")
    return Object.entries(value)
      .map(([key, item]) => `${key}=${String(item)}`)
      .join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
