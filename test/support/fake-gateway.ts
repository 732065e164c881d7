/** A gateway of the tests' own: an HTTP server that answers as it is told, and what it was asked. */
import { type IncomingMessage, type RequestListener, createServer } from "node:http";
import { text as readText } from "node:stream/consumers";
import { type TaskJson, taskJson } from "../../src/api/task-json.ts";
import { T0, taskSpec } from "../store/store-samples.ts";

export const TASK: TaskJson = {
  ...taskJson(
    {
      spec: taskSpec("t1"),
      serial: 1,
      createdAt: T0,
      counts: { scheduled: 0, ready: 0, running: 0, succeeded: 1, failed: 0, cancelled: 0 },
      firstRun: 1,
      isCancelled: false,
      state: "succeeded",
      finishedAt: T0,
      result: { stdout: "out\n", stderr: "", exitCode: 0 },
      runningSince: [],
    },
    T0,
  ),
  description: "a \u001b[31mred\u001b[0m one",
};

export const RUN = {
  files: [],
  task: "t1",
  index: 1,
  state: "succeeded",
  dueAt: "2026-01-01T00:00:00.000Z",
  attempts: [
    {
      number: 1,
      worker: "12D3KooWworker",
      state: "succeeded",
      startedAt: "2026-01-01T00:00:00.000Z",
      finishedAt: "2026-01-01T00:00:01.000Z",
      outcome: { kind: "exited", code: 0 },
    },
  ],
  outcome: { kind: "exited", code: 0 },
  result: { stdout: "out\n", stderr: "", exitCode: 0 },
  usage: { wallMs: 1, cpuMs: 1, memoryBytes: 65_536 },
  outputBytes: 4,
  outputTruncated: false,
};

interface Recorded {
  readonly method: string;
  readonly url: string;
  readonly body: string;
  readonly authorization: string | undefined;
  readonly key: string | undefined;
}

/** Its answers are given by path, `GET /tasks`. */
export class FakeGateway implements AsyncDisposable {
  readonly requests: Recorded[] = [];
  readonly #server = createServer((request, response) => void this.#take(request, response));
  readonly #answers: Readonly<Record<string, RequestListener>>;

  private constructor(answers: Readonly<Record<string, RequestListener>>) {
    this.#answers = answers;
  }

  static async create(answers: Readonly<Record<string, RequestListener>>): Promise<FakeGateway> {
    const gateway = new FakeGateway(answers);
    await new Promise<void>((listening) => gateway.#server.listen(0, "127.0.0.1", listening));
    return gateway;
  }

  get env(): Readonly<Record<string, string>> {
    const address = this.#server.address();
    return { CAPMESH_URL: `http://127.0.0.1:${typeof address === "object" ? (address?.port ?? 0) : 0}` };
  }

  async #take(request: IncomingMessage, response: Parameters<RequestListener>[1]): Promise<void> {
    const { method = "", url = "" } = request;
    const body = await readText(request);
    const { authorization, "idempotency-key": key } = request.headers;
    this.requests.push({ method, url, body, authorization, key: key?.toString() });
    const answer = this.#answers[`${method} ${url.replace(/\?.*/, "")}`];
    if (answer === undefined) problem(404, "not-found", "nothing here")(request, response);
    else answer(request, response);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }
}

export function json(value: unknown, status = 200): RequestListener {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  };
}

export function problem(status: number, code: string, detail: string, errors?: readonly object[]): RequestListener {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ type: "about:blank", title: code, status, code, detail, errors }));
  };
}

/** A log: pieces of text, then its end. */
export function log(pieces: readonly { readonly stream: string; readonly text: string }[]): RequestListener {
  return (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    let offset = 0;
    for (const { stream, text } of pieces) {
      const data = JSON.stringify({ run: 1, attempt: 1, offset, text });
      offset += Buffer.byteLength(text);
      response.write(`id: 1:${offset}\nevent: ${stream}\ndata: ${data}\n\n`);
    }
    response.end(`event: end\ndata: {"run":1,"state":"succeeded"}\n\n`);
  };
}
