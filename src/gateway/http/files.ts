/**
 * `/tasks/{id}/runs/{n}/files`: the files that were kept of a run, listed or as their bytes. What a guest has written is
 * never shown as anything but a download: it is a stranger's content under this server's name.
 */
import { type Request, type Response, Router } from "express";
import { keptFileJson } from "../../api/file-json.ts";
import { FILE_SEND_BYTES } from "../../base/limits.ts";
import { parseFilePath } from "../../model/file-path.ts";
import type { Run } from "../../model/run.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { Blob } from "../../store/blobs.ts";
import { type ByteRange, parseRange } from "./byte-range.ts";
import { drained } from "./drained.ts";
import { answeredByEtag } from "./etag.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, noSuchTask } from "./problem.ts";
import { noSuchRun, parseRunIndex } from "./runs.ts";
import { taskIdOf } from "./tasks.ts";

export function filesRouter(context: HttpContext): Router {
  const router = Router();
  router.get("/tasks/:id/runs/:index/files", async (request, response) => {
    const run = await runOf(context, request);
    response.json((run?.files ?? []).map(keptFileJson));
  });
  router.get("/tasks/:id/runs/:index/files/*path", async (request, response) => {
    const path = pathOf(request.params["path"]);
    const run = await runOf(context, request);
    const file = run?.files.find((each) => each.path === path);
    if (file === undefined) throw noSuchFile(request, path);
    await using blob = await context.blobs.open(file.digest);
    // Deleted meanwhile, with its task.
    if (blob === undefined) throw noSuchFile(request, path);
    await send(context, response, file, blob);
  });
  return router;
}

/** Undefined: the run is still to come, and has no files. */
async function runOf({ store }: HttpContext, request: Request): Promise<Run | undefined> {
  const id = taskIdOf(request);
  const text = String(request.params["index"] ?? "");
  const task = await store.getTask(id);
  if (task === undefined) throw noSuchTask(id);
  const index = parseRunIndex(text, task);
  if (index === undefined) throw noSuchRun(id, text, task);
  return store.getRun(id, index);
}

/** As the file's path is written everywhere, or what was asked for. */
function pathOf(segments: unknown): string {
  const text = Array.isArray(segments) ? segments.join("/") : String(segments);
  const parsed = parseFilePath(text);
  return parsed.ok ? parsed.path : text;
}

function noSuchFile(request: Request, path: string): Refusal {
  const name = JSON.stringify(path.slice(0, 200));
  const list = request.path.slice(0, request.path.indexOf("/files") + "/files".length);
  return new Refusal("no-such-file", `No file ${name} was kept of this run: GET ${list} lists those that were.`);
}

async function send({ clock }: HttpContext, response: Response, file: FileContent, blob: Blob): Promise<void> {
  const { req: request } = response;
  const etag = `"${file.digest}"`;
  const condition = request.headers["if-range"];
  const wanted = condition === undefined || condition === etag ? request.headers.range : undefined;
  const range = parseRange(wanted, blob.bytes);
  if (range === "unsatisfiable") {
    throw new Refusal("range-not-satisfiable", `The file has ${blob.bytes} bytes, and none of them were asked for.`, {
      headers: { "content-range": `bytes */${blob.bytes}` },
    });
  }
  response.setHeader("content-type", "application/octet-stream");
  response.setHeader("content-disposition", disposition(file.path));
  response.setHeader("accept-ranges", "bytes");
  // The name says what the content is, and the content never changes; whoever may not see it has to ask each time.
  response.setHeader("cache-control", "private, no-cache");
  if (answeredByEtag(request, response, etag)) return;
  const part = range ?? { from: 0, to: blob.bytes };
  if (range !== undefined) {
    response.status(206).setHeader("content-range", `bytes ${range.from}-${range.to - 1}/${blob.bytes}`);
  }
  response.setHeader("content-length", part.to - part.from);
  if (request.method !== "HEAD") await sendBytes(clock, response, blob, part);
  response.end();
}

async function sendBytes(
  clock: HttpContext["clock"],
  response: Response,
  blob: Blob,
  { from, to }: ByteRange,
): Promise<void> {
  const gone = new AbortController();
  const { signal } = gone;
  response.on("close", () => gone.abort());
  for (let at = from; at < to && !signal.aborted;) {
    const bytes = await blob.read(at, Math.min(FILE_SEND_BYTES, to - at));
    if (bytes.length === 0) {
      // A length was promised that there is not: the connection ends, so that nobody takes it for the whole.
      response.destroy();
      return;
    }
    response.write(bytes);
    at += bytes.length;
    await drained(response, { clock, signal, onStall: () => response.destroy() });
  }
}

/** By its last name, as RFC 6266 has it: in plain letters for all, and as it is for those who know how. */
function disposition(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const plain = name.replaceAll(/[^A-Za-z0-9._ -]/g, "_");
  const encoded = encodeURIComponent(name).replaceAll(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  return plain === name
    ? `attachment; filename="${plain}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}
