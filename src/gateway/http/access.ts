/**
 * Who may use the API. With a token: whoever sends it. Without one, which only a loopback address may be: whoever is on
 * this machine, but no web page from elsewhere. Such a page could reach a loopback server in two ways: by a request
 * across sites, which names its origin, or by a name of its own that it lets point here, which the Host header shows.
 */
import type { NextFunction, Request, RequestHandler, Response } from "express";
import type { IncomingMessage } from "node:http";
import { createHash, timingSafeEqual } from "node:crypto";
import { bareHost } from "../../base/loopback.ts";
import { ADMIN_TOKEN_SUBMITTER, LOCAL_SUBMITTER } from "../../model/submitter.ts";
import { Refusal } from "./problem.ts";

export interface AccessInit {
  /** Undefined: loopback without a token. */
  readonly adminToken?: string | undefined;
  /** Names besides the loopback ones that a tokenless API answers to. */
  readonly allowHosts: readonly string[];
  /** What the server listens on. */
  readonly host: string;
  /** Says of each request that passed whose it is. */
  readonly submitters: WeakMap<IncomingMessage, string>;
}

/** Say only whether the gateway lives, and are asked by programs that have neither token nor name for it. */
const OPEN_TO_ALL: ReadonlySet<string> = new Set(["/livez", "/readyz"]);
/** Hold nothing but the page itself, which asks for the token. */
const PAGE_PATHS: ReadonlySet<string> = new Set(["/", "/page.js", "/page.css"]);

export function access(init: AccessInit): RequestHandler {
  const { adminToken, submitters } = init;
  // Who a request's tasks belong to follows from the credential that let it pass.
  const submitter = adminToken === undefined ? LOCAL_SUBMITTER : ADMIN_TOKEN_SUBMITTER;
  const check = adminToken === undefined ? checkSource(init) : checkToken(adminToken);
  return (request: Request, _response: Response, next: NextFunction) => {
    if (!OPEN_TO_ALL.has(request.path)) {
      check(request);
      submitters.set(request, submitter);
    }
    next();
  };
}

function checkToken(token: string): (request: Request) => void {
  const expected = sha256(token);
  return (request) => {
    if (PAGE_PATHS.has(request.path)) return;
    const given = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? "")?.[1];
    // Digests have one length, so that the comparison tells nothing about the token's.
    if (given !== undefined && timingSafeEqual(sha256(given), expected)) return;
    throw new Refusal(
      "unauthenticated",
      given === undefined
        ? "This gateway needs a token: send it as `Authorization: Bearer <token>` (CAPMESH_TOKEN, --token)."
        : "The token is not valid here: see admin-token in the gateway's data directory.",
      { headers: { "www-authenticate": 'Bearer realm="capmesh"' } },
    );
  };
}

function checkSource({ allowHosts, host }: AccessInit): (request: Request) => void {
  const names = new Set(["localhost", "127.0.0.1", "::1", bareHost(host), ...allowHosts.map(bareHost)]);
  return (request) => {
    const named = request.headers.host ?? "";
    const here = splitHost(named);
    if (here === undefined || !names.has(here.name)) {
      throw new Refusal(
        "forbidden",
        `This gateway does not answer to the name ${JSON.stringify(named.slice(0, 128))}: start it with --allow-host <name>, or use localhost.`,
      );
    }
    const { origin } = request.headers;
    if (origin === undefined) return;
    const from = URL.parse(origin);
    const isKnown = from !== null && names.has(bareHost(from.hostname));
    if (!isKnown || (from.port || defaultPort(from.protocol)) !== (here.port || defaultPort(from.protocol))) {
      throw new Refusal(
        "forbidden",
        `Pages of ${JSON.stringify(origin.slice(0, 128))} may not use this gateway: open its own page, or start it with --allow-host <name> and a page on its port.`,
      );
    }
  };
}

function splitHost(host: string): { readonly name: string; readonly port: string } | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]@/\\?#\s]+)(?::(\d{1,5}))?$/i.exec(host);
  return match?.[1] === undefined ? undefined : { name: bareHost(match[1]), port: match[2] ?? "" };
}

function defaultPort(protocol: string): string {
  return protocol === "https:" ? "443" : "80";
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
