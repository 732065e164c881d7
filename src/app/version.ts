/** The version of this program, as its package says. */
import { readFileSync } from "node:fs";

export const VERSION: string = parseVersion(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

function parseVersion(text: string): string {
  const manifest: unknown = JSON.parse(text);
  const isManifest = typeof manifest === "object" && manifest !== null && "version" in manifest;
  return isManifest ? String(manifest.version) : "unknown";
}
