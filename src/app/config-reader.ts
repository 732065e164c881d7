/**
 * Finds each setting in the sources, in their order, and has it parsed. It gathers problems instead of throwing, so that
 * a user sees all of them at once.
 */
import { dirname } from "node:path";
import { closestName } from "../api/closest.ts";
import type { ConfigSources, SettingsFile } from "./config-sources.ts";
import {
  type SettingKey,
  environmentName,
  isSettingKey,
  settingKeys,
  settingOf,
  withoutSecret,
} from "./config-settings.ts";
import { type ValueParser, parseSwitch } from "./config-values.ts";

/** `at` is how a user would find it: `--http`, `CAPMESH_HTTP`, or the file and key. */
export interface Origin {
  readonly source: "flag" | "environment" | "project file" | "user file" | "default";
  readonly at: string;
}

/** A setting's text in one source: one item, or several for a list. */
interface Found {
  readonly texts: readonly string[];
  readonly origin: Origin;
  readonly folder: string;
}

const DEFAULT_ORIGIN: Origin = { source: "default", at: "" };

export class SettingsReader {
  readonly problems: string[] = [];
  readonly #sources: ConfigSources;
  readonly #origins = new Map<SettingKey, Origin>();

  constructor(sources: ConfigSources) {
    this.#sources = sources;
    for (const file of sources.files) this.#checkKeys(file);
  }

  addProblem(problem: string): void {
    this.problems.push(problem);
  }

  origins(): Record<SettingKey, Origin> {
    // Object.fromEntries forgets that every key is there.
    const origins: Partial<Record<SettingKey, Origin>> = {};
    for (const key of settingKeys()) origins[key] = this.#origins.get(key) ?? DEFAULT_ORIGIN;
    return parseComplete(origins);
  }

  single<T>(key: SettingKey, parse: ValueParser<T>, fallback: T): T {
    return this.optional(key, parse) ?? fallback;
  }

  /** Undefined when no source has it, or when it is wrong; then there is a problem more. */
  optional<T>(key: SettingKey, parse: ValueParser<T>): T | undefined {
    const found = this.#find(key);
    if (found === undefined) return undefined;
    const [text, ...more] = found.texts;
    if (text === undefined || more.length > 0) {
      this.addProblem(`${found.origin.at}: expected one value, got ${found.texts.length}`);
      return undefined;
    }
    return this.#parse(key, found, text, parse);
  }

  list<T>(key: SettingKey, parse: ValueParser<T>): readonly T[] | undefined {
    const found = this.#find(key);
    if (found === undefined) return undefined;
    const values: T[] = [];
    for (const text of found.texts) {
      const value = this.#parse(key, found, text, parse);
      if (value !== undefined) values.push(value);
    }
    return values;
  }

  #parse<T>(key: SettingKey, found: Found, text: string, parse: ValueParser<T>): T | undefined {
    const parsed = parse(text, { folder: found.folder, home: this.#sources.machine.home });
    if ("value" in parsed) return parsed.value;
    const shown = settingOf(key).isSecret ? "" : ` got "${withoutSecret(key, text)}",`;
    this.addProblem(`${found.origin.at}:${shown} expected ${parsed.expected}`);
    return undefined;
  }

  #find(key: SettingKey): Found | undefined {
    const found = this.#inFlags(key) ?? this.#inEnvironment(key) ?? this.#inFiles(key);
    if (found !== undefined) this.#origins.set(key, found.origin);
    return found;
  }

  #inFlags(key: SettingKey): Found | undefined {
    const value = this.#sources.flags[key];
    if (value === undefined) return undefined;
    const at = value === false ? `--no-${key}` : `--${key}`;
    const texts = typeof value === "boolean" ? [String(value)] : typeof value === "string" ? [value] : value;
    return this.#found(key, texts, { source: "flag", at }, this.#sources.machine.workingFolder);
  }

  #inEnvironment(key: SettingKey): Found | undefined {
    const folder = this.#sources.machine.workingFolder;
    for (const { name, negates } of namesOf(key)) {
      const at = environmentName(name);
      const value = this.#sources.env[at];
      // Compose files and shells set variables to nothing where they mean to leave them out.
      if (value === undefined || value === "") continue;
      const text = negates ? this.#negated(value, at) : value;
      if (text !== undefined) return this.#found(key, [text], { source: "environment", at }, folder);
    }
    return undefined;
  }

  #inFiles(key: SettingKey): Found | undefined {
    for (const file of this.#sources.files) {
      for (const { name, negates } of namesOf(key)) {
        const value = entryOf(file, name);
        if (value === undefined || value === null) continue;
        const at = `${file.path}, key "${name}"`;
        const texts = textsOf(value, settingOf(key).isList ?? false);
        if (texts === undefined) {
          this.addProblem(`${at}: expected ${settingOf(key).isList ? "text or a list of texts" : "one value"}`);
          return undefined;
        }
        const text = negates ? this.#negated(texts[0] ?? "", at) : undefined;
        const origin: Origin = { source: file.kind === "project" ? "project file" : "user file", at };
        return this.#found(key, text === undefined ? texts : [text], origin, dirname(file.path));
      }
    }
    return undefined;
  }

  #found(key: SettingKey, texts: readonly string[], origin: Origin, folder: string): Found {
    if (!settingOf(key).isList) return { texts, origin, folder };
    const items = texts.flatMap((text) => text.split(",")).map((item) => item.trim());
    return { texts: items.filter((item) => item !== ""), origin, folder };
  }

  /** `CAPMESH_NO_MDNS=1` is `CAPMESH_MDNS=false`. */
  #negated(text: string, at: string): string | undefined {
    const parsed = parseSwitch(text);
    if ("value" in parsed) return String(!parsed.value);
    this.addProblem(`${at}: got "${text}", expected ${parsed.expected}`);
    return undefined;
  }

  #checkKeys(file: SettingsFile): void {
    if (typeof file.content !== "object" || file.content === null || Array.isArray(file.content)) {
      this.addProblem(`${file.path}: expected a JSON object of settings, such as {"http": "127.0.0.1:8080"}`);
      return;
    }
    for (const key of Object.keys(file.content)) {
      if (isSettingKey(kebabCase(key).replace(/^no-/, ""))) continue;
      const nearest = closestName(key, settingKeys());
      const hint = nearest === undefined ? "`capmesh config show` lists the keys" : `did you mean "${nearest}"?`;
      this.addProblem(`${file.path}, key "${key}": there is no such setting; ${hint}`);
    }
  }
}

/** A switch is also known by what turns it off. */
function namesOf(key: SettingKey): readonly { readonly name: string; readonly negates: boolean }[] {
  const plain = { name: key, negates: false };
  return settingOf(key).valueName === undefined ? [plain, { name: `no-${key}`, negates: true }] : [plain];
}

/** The file's value under a key, which may be spelled `log-format` or `logFormat`. */
function entryOf(file: SettingsFile, name: string): unknown {
  if (typeof file.content !== "object" || file.content === null) return undefined;
  return Object.entries(file.content).find(([key]) => kebabCase(key) === name)?.[1];
}

function kebabCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** A JSON value as the texts a flag would have had; undefined when it can be none. */
function textsOf(value: unknown, isList: boolean): readonly string[] | undefined {
  if (typeof value === "string") return [value];
  if (typeof value === "number" || typeof value === "boolean") return [String(value)];
  if (!isList || typeof value !== "object" || value === null) return undefined;
  const items = Array.isArray(value) ? value : Object.entries(value).map(([key, item]) => `${key}=${String(item)}`);
  return items.every((item) => typeof item === "string") ? items : undefined;
}

function parseComplete(origins: Partial<Record<SettingKey, Origin>>): Record<SettingKey, Origin> {
  return origins as Record<SettingKey, Origin>;
}
