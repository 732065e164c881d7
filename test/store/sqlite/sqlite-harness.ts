/** A SqliteStore in a folder of its own, which goes when the test is over. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { silentLog } from "../../../src/base/log.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite-store.ts";
import type { StoreHarness } from "../store-harness.ts";

export class SqliteHarness implements StoreHarness {
  readonly folder: string;
  readonly path: string;
  #store: SqliteStore;

  private constructor(folder: string, path: string, store: SqliteStore) {
    this.folder = folder;
    this.path = path;
    this.#store = store;
  }

  /** `prepare` may make the file before it is opened. */
  static async open(prepare: (path: string) => void = () => {}): Promise<SqliteHarness> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-store-"));
    const path = join(folder, "capmesh.db");
    prepare(path);
    return new SqliteHarness(folder, path, await SqliteStore.open({ path, log: silentLog }));
  }

  get store(): SqliteStore {
    return this.#store;
  }

  readonly reopen = async (): Promise<void> => {
    await this.#store.close();
    this.#store = await SqliteStore.open({ path: this.path, log: silentLog });
  };

  /**
   * The file as another program opens it, which writes to it while the store has it. It waits for the store, whose
   * thread sees to its chores in transactions of its own whenever it has nothing else to do.
   */
  openBeside(): DatabaseSync {
    return new DatabaseSync(this.path, { timeout: 30_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store.close();
    await rm(this.folder, { recursive: true });
  }
}
