/**
 * What the API does not see, for it is over before a request is whole or after it was answered: requests that are no HTTP,
 * or whose heads are too large or too slow, get a problem document all the same; and bodies that nobody has asked for
 * are not read for ever.
 */
import { type IncomingMessage, STATUS_CODES, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import { PROBLEM_MEDIA_TYPE, problemJson } from "../../api/problem.ts";
import { UNREAD_BODY_BYTES_MAX } from "../../base/limits.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, dropBody, encodeProblem, hasBody } from "./problem.ts";

type WireContext = Pick<HttpContext, "clock" | "log" | "newId">;

/** To be called once, before the server listens. */
export function answerWireFaults(server: Server, context: WireContext): void {
  const answers = new WeakMap<object, ServerResponse>();
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    answers.set(request.socket, response);
    boundUnreadBody(request, response, context);
  };
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const refusal = refusalOf(error);
    const hasBegun = answers.get(socket)?.headersSent === true && answers.get(socket)?.writableFinished === false;
    if (refusal === undefined || hasBegun || !socket.writable || !(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    const requestId = context.newId();
    context.log.debug("could not read a request", { requestId, reason: error.message });
    socket.write(encodeAnswer(refusal, requestId));
    // A client that does not close its side is not waited for.
    socket.destroySoon();
  });
  server.prependListener("request", onRequest);
  server.prependListener("checkContinue", onRequest);
  server.prependListener("checkExpectation", onRequest);
}

/** Undefined: whoever it is speaks no HTTP, as one that breaks off its TLS handshake, or has gone. */
function refusalOf({ code, message }: NodeJS.ErrnoException): Refusal | undefined {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new Refusal(
        "head-too-large",
        "The request's headers are larger than 16 KiB: send fewer, or shorter ones.",
      );
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new Refusal("too-large", "The body's chunks have extensions beyond all measure: send them without.");
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new Refusal("too-slow", "The request did not come in in time: send it again, faster.");
    default:
      if (code?.startsWith("HPE_") !== true) return undefined;
      return new Refusal(
        "invalid-request",
        `This is no request of HTTP/1.1 (${message.replace(/^Parse Error: /, "")}).`,
      );
  }
}

function encodeAnswer(refusal: Refusal, requestId: string): Buffer {
  const { status, bytes } = encodeProblem(problemJson(refusal.problem, refusal.detail, { requestId }));
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    `Content-Type: ${PROBLEM_MEDIA_TYPE}`,
    `Content-Length: ${bytes.length}`,
    `X-Request-Id: ${requestId}`,
    "X-Content-Type-Options: nosniff",
    "Cache-Control: no-store",
    "Connection: close",
  ];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), bytes]);
}

/** Left to itself, Node reads the rest of such a body, however long, so that the connection can be used again. */
function boundUnreadBody(request: IncomingMessage, response: ServerResponse, { clock }: WireContext): void {
  response.once("prefinish", () => {
    // An answer that says `close` is the end of its connection anyway.
    if (!hasBody(request) || request.complete || request.destroyed || response.getHeader("connection") === "close")
      return;
    dropBody(request, { clock, bytesMax: UNREAD_BODY_BYTES_MAX }, () => {
      if (!request.complete) request.socket.destroySoon();
    });
    // At once: what is still unread when the answer has gone out, Node reads itself.
    request.read();
  });
}
