/** What a worker is told of a run: the task's spec, as far as it is about one attempt. */
import type { Digest } from "../base/ids.ts";
import { KEPT_FILES_BYTES_MAX } from "../base/limits.ts";
import { isWasmEntry } from "../model/entry.ts";
import type { RunEntry, RunSpec } from "../model/run-spec.ts";
import type { AttemptId } from "../model/run.ts";
import { isUnresolved } from "../model/task-file.ts";
import type { TaskSpec } from "../model/task.ts";
import type { ReadyRun } from "../store/store.ts";

/**
 * An attempt may write as much as its run may keep, whatever the attempts before it have written: a run never fails
 * because of the output of an attempt that was lost. The store keeps the head of all of it, within the cap.
 */
export function runSpec(
  id: AttemptId,
  { spec }: ReadyRun,
  rest: Pick<RunSpec, "moduleBytes" | "files" | "leaseMs" | "traceparent">,
): RunSpec {
  return {
    ...rest,
    id,
    module: spec.module,
    entry: runEntry(spec),
    args: spec.args,
    env: spec.env,
    stdin: spec.stdin,
    timeoutMs: spec.timeoutMs,
    cpuMs: spec.cpuMs,
    memoryBytes: spec.memoryBytes,
    outputBytesMax: spec.outputBytesMax,
    outputLimit: spec.outputLimit,
    submitter: spec.submitter,
    outputs: spec.outputs,
  };
}

/** What may have to move of a run's files, in both directions. */
export function fileBytesMax({ files, outputs }: RunSpec): number {
  return files.reduce((sum, { bytes }) => sum + bytes, outputs.length > 0 ? KEPT_FILES_BYTES_MAX : 0);
}

function runEntry(spec: TaskSpec): RunEntry {
  if (!isWasmEntry(spec.entry)) return { kind: "custom", name: spec.entry };
  if (spec.entry !== "run") return { kind: spec.entry };
  return { kind: "run", input: spec.input ?? 0, difficulty: spec.difficulty ?? 0 };
}

/** Blobs that a run needs and that are known before it is leased. */
export function blobsOf({ module, files }: TaskSpec): readonly Digest[] {
  const inputs = files.flatMap((file) => (isUnresolved(file) ? [] : file.digest));
  return module === undefined ? inputs : [module, ...inputs];
}
