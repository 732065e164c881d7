/** `/workers`: who offers slots, who waits to be admitted; `/cluster`: the members as gossip shows them. */
import { type Request, Router } from "express";
import { memberJson, workerJson } from "../../api/worker-json.ts";
import { type PeerId, parseWorkerId } from "../../base/ids.ts";
import { recordDone } from "./audited.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal } from "./problem.ts";
import { Query } from "./query.ts";

export function workersRouter(context: HttpContext): Router {
  const { workers, members } = context;
  const router = Router();
  router.get("/workers", (_request, response) => {
    response.json(workers.list().map(workerJson));
  });
  router.get("/workers/:id", (request, response) => {
    const id = peerIdOf(request);
    const view = workers.get(id);
    if (view === undefined) throw noSuchWorker(id);
    response.json(workerJson(view));
  });
  router.post("/workers/:id/admit", async (request, response) => {
    const id = peerIdOf(request);
    await workers.admit(id);
    recordDone(context, request, "worker.admitted", id);
    response.status(204).end();
  });
  router.post("/workers/:id/drain", async (request, response) => {
    const id = peerIdOf(request);
    const graceMs = new Query(request).durationMs("grace");
    if (!(await workers.drain(id, { graceMs }))) throw noSuchWorker(id);
    recordDone(context, request, "worker.drained", id);
    response.status(204).end();
  });
  router.delete("/workers/:id", async (request, response) => {
    const id = peerIdOf(request);
    await workers.forget(id);
    recordDone(context, request, "worker.barred", id);
    response.status(204).end();
  });
  router.get("/cluster", (_request, response) => {
    response.json(members.members().map(memberJson));
  });
  return router;
}

function peerIdOf(request: Request): PeerId {
  const text = String(request.params["id"] ?? "");
  const id = parseWorkerId(text);
  if (id === undefined) throw noSuchWorker(text);
  return id;
}

function noSuchWorker(id: string): Refusal {
  return new Refusal("no-such-worker", `There is no worker ${JSON.stringify(id.slice(0, 128))}: see GET /workers.`);
}
