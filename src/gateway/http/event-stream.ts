/** `/events`: every change of tasks, runs and workers as server-sent events. A reader that falls behind is cut off. */
import { Router } from "express";
import type { EventHistory } from "./event-history.ts";
import type { HttpContext } from "./http-context.ts";

export function eventsRouter({ streams }: HttpContext, history: EventHistory): Router {
  const router = Router();
  router.get("/events", (request, response) => {
    const lastId = request.headers["last-event-id"];
    const stream = streams.open(response);
    // So that a reader whose connection is lost before the first event misses none.
    if (typeof lastId !== "string") stream.mark(history.lastId);
    const subscription = history.subscribe(typeof lastId === "string" ? lastId : undefined, ({ id, event }) => {
      stream.send({ event: event.type, data: JSON.stringify(event), id });
    });
    const release = (): void => subscription[Symbol.dispose]();
    if (stream.signal.aborted) release();
    else stream.signal.addEventListener("abort", release, { once: true });
  });
  return router;
}
