/** Fetches the input files of a run, a few at once, and holds them in the cache for as long as they are used. */
import { followAborts } from "../base/abort.ts";
import { failed } from "../base/errors.ts";
import { FILES_FETCHED_AT_ONCE } from "../base/limits.ts";
import type { FilesClient } from "../caps/files.ts";
import type { FileContent } from "../model/task-file.ts";
import type { GuestFile } from "./guest.ts";
import type { ModuleCache, ModuleLease } from "./module-cache.ts";

/** Disposing it lets the cache forget the files. */
export interface FetchedFiles extends Disposable {
  readonly files: readonly GuestFile[];
}

const NO_FILES: FetchedFiles = { files: [], [Symbol.dispose]: () => {} };

/** `source` is borrowed for the call. Rejects as the cache does for the first that cannot be had. */
export async function fetchFiles(
  cache: ModuleCache,
  wanted: readonly FileContent[],
  source: FilesClient | undefined,
  signal: AbortSignal,
): Promise<FetchedFiles> {
  if (wanted.length === 0) return NO_FILES;
  if (source === undefined) throw failed("the run has files, and nowhere to read them");
  using held = new DisposableStack();
  // Those that are under way when one fails are given up.
  using given = followAborts([signal]);
  const leases = new Map<FileContent, ModuleLease>();
  const left = wanted.toReversed();
  const fetchLeft = async (): Promise<void> => {
    for (let file = left.pop(); file !== undefined; file = left.pop()) {
      const { digest, bytes } = file;
      const read = (offset: number, length: number, options: { readonly signal: AbortSignal }) =>
        source.read(digest, offset, length, options);
      const lease = await cache.acquire(digest, bytes, { read }, { signal: given.signal, isFile: true });
      leases.set(file, held.use(lease));
    }
  };
  const fetches = Array.from({ length: Math.min(FILES_FETCHED_AT_ONCE, wanted.length) }, fetchLeft);
  try {
    await Promise.all(fetches);
  } catch (thrown) {
    given.abort(failed("another file could not be fetched"));
    await Promise.allSettled(fetches);
    throw thrown;
  }
  const files = wanted.map((file) => {
    const contentPath = leases.get(file)?.path;
    if (contentPath === undefined) throw failed("a file was not fetched");
    return { path: file.path, bytes: file.bytes, contentPath, digest: file.digest };
  });
  const owned = held.move();
  return { files, [Symbol.dispose]: () => owned.dispose() };
}
