/** One request and its answer: the token goes along, refusals become `ApiError`, a lost connection `unreachable`. */
import type { z } from "zod";
import { problemSchema } from "../api/problem.ts";
import { type ClusterError, disconnected, failed } from "../base/errors.ts";
import { PROBLEM_LENGTH_MAX } from "../base/limits.ts";
import { ApiError } from "./api-error.ts";
import { fetchFailure } from "./fetch-failure.ts";

export interface HttpExchangeInit {
  readonly url: string;
  readonly token?: string | undefined;
  readonly fetch?: typeof fetch | undefined;
}

export interface ExchangeOptions {
  readonly method?: string | undefined;
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Of text and bytes, `headers` say the type. */
  readonly body?: FormData | Blob | Uint8Array<ArrayBuffer> | string | undefined;
  /** Sent as JSON, in place of `body`. */
  readonly json?: unknown;
  readonly signal?: AbortSignal | undefined;
}

export class HttpExchange {
  readonly #base: URL;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;

  /** Throws `failed`, code `invalid-url`, for a URL that is none. */
  constructor(init: HttpExchangeInit) {
    const base = URL.parse(init.url);
    if (base === null || !/^https?:$/.test(base.protocol)) {
      throw failed(`${JSON.stringify(init.url)} is not the URL of a gateway: expected http://<host>:<port>`, {
        code: "invalid-url",
      });
    }
    this.#base = base;
    this.#token = init.token;
    this.#fetch = init.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** The answer's JSON, checked. */
  async json<Schema extends z.ZodType>(
    path: string,
    schema: Schema,
    options: ExchangeOptions = {},
  ): Promise<z.infer<Schema>> {
    const response = await this.open(path, options);
    return this.read(response, schema, options.signal);
  }

  /** The answer's body as JSON, checked. Rejects with `failed`, code `bad-answer`, where it is something else. */
  async read<Schema extends z.ZodType>(
    response: Response,
    schema: Schema,
    signal: AbortSignal | undefined,
  ): Promise<z.infer<Schema>> {
    const parsed = schema.safeParse(parseJson(await this.text(response, signal)));
    if (!parsed.success) throw this.badAnswer(parsed.error);
    return parsed.data;
  }

  /** The answer's body as text. */
  text(response: Response, signal: AbortSignal | undefined): Promise<string> {
    return this.#guard(response.text(), signal);
  }

  /** What is thrown for an answer that is none of a gateway. */
  badAnswer(cause?: unknown): ClusterError {
    return failed(`the answer of ${this.#base.origin} is not what a gateway answers`, { code: "bad-answer", cause });
  }

  /** An answer that is no refusal; its body is the caller's to read or cancel. */
  async open(path: string, options: ExchangeOptions = {}): Promise<Response> {
    const url = this.#url(path, options.query);
    const headers = new Headers(options.headers);
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token}`);
    const init: RequestInit = { method: options.method ?? "GET", headers, redirect: "error" };
    if (options.body !== undefined) init.body = options.body;
    if (options.json !== undefined) {
      headers.set("content-type", "application/json");
      init.body = JSON.stringify(options.json);
    }
    if (options.signal !== undefined) init.signal = options.signal;
    const response = await this.#guard(this.#fetch(url, init), options.signal);
    if (!response.ok) throw await this.#refusal(response, options.signal);
    return response;
  }

  /** What was thrown while talking: the signal's reason if it was aborted, else `unreachable`. */
  unreachable(thrown: unknown, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted === true) return signal.reason;
    return this.#unreachable(thrown);
  }

  #url(path: string, query: ExchangeOptions["query"] = {}): URL {
    const url = new URL(this.#base);
    url.pathname = url.pathname.replace(/\/$/, "") + path;
    url.search = "";
    url.hash = "";
    for (const [key, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    return url;
  }

  async #guard<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await promise;
    } catch (thrown) {
      throw this.unreachable(thrown, signal);
    }
  }

  async #refusal(response: Response, signal: AbortSignal | undefined): Promise<ApiError> {
    const { status } = response;
    const text = await this.#guard(response.text(), signal);
    const problem = problemSchema.safeParse(parseJson(text.slice(0, PROBLEM_LENGTH_MAX)));
    if (!problem.success) {
      return new ApiError({
        status,
        code: `http-${status}`,
        message: `${this.#base.origin} answered ${status} ${response.statusText}: is it a gateway?`,
      });
    }
    const { code, title, detail, errors, requestId } = problem.data;
    return new ApiError({ status, code, message: detail === "" ? title : detail, errors, requestId });
  }

  #unreachable(thrown: unknown): ClusterError {
    return disconnected(`the gateway at ${this.#base.origin} cannot be reached: ${fetchFailure(thrown)}`, {
      code: "unreachable",
      cause: thrown,
    });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
