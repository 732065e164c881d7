/**
 * The files of one run, from before it to after it: those that it is given are put into its tree, and those that are to
 * be kept are sent to the pool when it asks for them. In between they are the guest's.
 *
 * An idle runner holds no files: their bytes are given back at once, not when the engine gets round to it.
 */
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX, RUNNER_OUTPUT_FRAME_BYTES_MAX } from "../../../base/limits.ts";
import { shortened } from "../../../base/wording.ts";
import { parseFilePath } from "../../../model/file-path.ts";
import { walkOf } from "../../../model/glob.ts";
import { type CollectOrder, encodeFileHead, parseFilePayload, REPLY } from "../wire.ts";
import type { ControlWriter } from "../../../sandbox/child/control-pipe.ts";
import { FileTree } from "./files/file-tree.ts";
import { type GivenFile, preloadFile } from "./files/preload.ts";
import { type FileInTree, filesBelow, matchingFiles } from "./files/walk.ts";

/** How many files are named when there are too many. */
const NAMED_MAX = 5;
/** Of a path that is too long. */
const SHOWN_PATH_LENGTH = 200;

export class GuestFiles {
  #given: GivenFile[] = [];
  #tree: FileTree | undefined;

  /** A file of the run that is to come, as the pool sends it. */
  give(payload: Uint8Array): void {
    this.#given.push(parseFilePayload(payload));
  }

  /** The tree of the run that begins, with what it was given. Throws `WasiFailure` where that does not fit. */
  open(nowNs: () => bigint): FileTree {
    this.release();
    const tree = new FileTree(nowNs);
    this.#tree = tree;
    const given = this.#given;
    this.#given = [];
    for (const file of given) preloadFile(tree, file);
    return tree;
  }

  /** Gives back what the last run has left. */
  release(): void {
    const tree = this.#tree;
    this.#tree = undefined;
    if (tree === undefined) return;
    for (const file of filesBelow(tree.root)) {
      const { buffer } = file.bytes;
      if (buffer instanceof ArrayBuffer && buffer.byteLength > 0) buffer.transfer(0);
    }
  }

  /** Sends the last run's files that match, and gives all back. Returns why they cannot be kept, and then sends none. */
  collect({ outputs }: CollectOrder, writer: ControlWriter): string | undefined {
    const excess = this.#tree === undefined ? undefined : sendMatching(this.#tree, outputs, writer);
    this.release();
    return excess;
  }
}

function sendMatching(tree: FileTree, outputs: readonly string[], writer: ControlWriter): string | undefined {
  const wanted: FileInTree[] = [];
  for (const found of matchingFiles(tree.root, walkOf(outputs))) {
    const parsed = parseFilePath(found.path);
    if (!parsed.ok) {
      return `left a file to keep whose path ${parsed.reason}: ${JSON.stringify(shortened(SHOWN_PATH_LENGTH, found.path))}`;
    }
    wanted.push(found);
  }
  const excess = excessOf(wanted);
  if (excess === undefined) for (const each of wanted) sendFile(each, writer);
  return excess;
}

function sendFile({ path, file }: FileInTree, writer: ControlWriter): void {
  writer.send(REPLY.file, encodeFileHead({ path, bytes: file.size }));
  for (let at = 0; at < file.size; at += RUNNER_OUTPUT_FRAME_BYTES_MAX) {
    writer.send(REPLY.fileBytes, file.bytes.subarray(at, Math.min(file.size, at + RUNNER_OUTPUT_FRAME_BYTES_MAX)));
  }
}

function excessOf(wanted: readonly FileInTree[]): string | undefined {
  if (wanted.length > KEPT_FILES_MAX) {
    return `left ${wanted.length} files to keep, and ${KEPT_FILES_MAX} are the most: ${namesOf(wanted)}`;
  }
  const bytes = wanted.reduce((sum, { file }) => sum + file.size, 0);
  if (bytes <= KEPT_FILES_BYTES_MAX) return undefined;
  const largest = wanted.toSorted((a, b) => b.file.size - a.file.size);
  return `left files of ${bytes} bytes to keep, and ${KEPT_FILES_BYTES_MAX} are the most: ${namesOf(largest)}`;
}

function namesOf(files: readonly FileInTree[]): string {
  const named = files.slice(0, NAMED_MAX).map(({ path, file }) => `${JSON.stringify(path)} (${file.size} bytes)`);
  const more = files.length - named.length;
  return more > 0 ? `${named.join(", ")} and ${more} more` : named.join(", ");
}
