/**
 * Verdicts on modules, each reached once: a file each, named by the module's digest and by who reached it. They outlive
 * the worker's process. A file that does not read well is none.
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { VERDICTS_KEPT_MAX } from "../../base/limits.ts";
import type { Inspector } from "../../inspect/inspector.ts";
import { parseVerdict } from "../../inspect/verdict.ts";
import type { Verdict } from "../../inspect/verdict.ts";

export interface VerdictCacheInit {
  readonly inspector: Pick<Inspector, "inspectBytes" | "version">;
  /** This cache's alone. Made when there is something to keep. */
  readonly folder: string;
  /** Default `VERDICTS_KEPT_MAX`. */
  readonly keptMax?: number | undefined;
}

/** The files are counted, and the oldest removed, once in so many. */
const PRUNE_EVERY = 32;

export class VerdictCache {
  readonly #init: VerdictCacheInit;
  readonly #keptMax: number;
  #written = 0;

  constructor(init: VerdictCacheInit) {
    this.#init = init;
    this.#keptMax = init.keptMax ?? VERDICTS_KEPT_MAX;
  }

  /** The verdict on bytes whose digest the caller may know. Rejects as the inspector does. */
  async verdictOn(bytes: Uint8Array, digest?: string): Promise<Verdict> {
    const { inspector, folder } = this.#init;
    const name = digest ?? createHash("sha256").update(bytes).digest("hex");
    const path = join(folder, `${name}-${await inspector.version()}`);
    const kept = await readFile(path, "utf8").then(parseVerdict, () => undefined);
    if (kept !== undefined) return kept;
    const verdict = await inspector.inspectBytes(bytes);
    // A refusal may be the machine's fault, which took too long, say; it is cheap to reach again.
    if (verdict.ok) await this.#keep(path, verdict).catch(() => {});
    return verdict;
  }

  async #keep(path: string, verdict: Verdict): Promise<void> {
    const { folder } = this.#init;
    await mkdir(folder, { recursive: true });
    const draft = `${path}.${process.pid}.${this.#written++}`;
    await writeFile(draft, JSON.stringify(verdict));
    await rename(draft, path);
    if (this.#written % PRUNE_EVERY === 0) await this.#prune();
  }

  async #prune(): Promise<void> {
    const { folder } = this.#init;
    const names = await readdir(folder);
    if (names.length <= this.#keptMax) return;
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(folder, name);
        return { path, madeMs: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 };
      }),
    );
    const oldest = files.toSorted((a, b) => a.madeMs - b.madeMs).slice(0, files.length - this.#keptMax);
    for (const { path } of oldest) await rm(path, { force: true });
  }
}
