/**
 * Who asks, and whether he may. A request acts by a grant: that of the token it brings; without one, and where the gateway
 * has no token of its own (which only a loopback address may be), that of whoever is on this machine, but of no web page
 * from elsewhere. Such a page could reach a loopback server in two ways: by a request across sites, which names its
 * origin, or by a name of its own that it lets point here, which the Host header shows.
 *
 * What a grant gave ends with it: when a token is revoked, what it asked for and is still under way is cut off.
 */
import type { NextFunction, Request, RequestHandler, Response } from "express";
import type { IncomingMessage } from "node:http";
import { findEndpoint, powerWords } from "../../api/endpoints.ts";
import { bareHost } from "../../base/loopback.ts";
import { tokenSubmitter } from "../../model/submitter.ts";
import { parseTokenText } from "../../model/token.ts";
import type { AuditLog } from "../audit.ts";
import type { Grant } from "../grant.ts";
import type { Tokens } from "../tokens.ts";
import { Refusal } from "./problem.ts";

export interface AccessInit {
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  /** Names besides the loopback ones that a tokenless API answers to. */
  readonly allowHosts: readonly string[];
  /** What the server listens on. */
  readonly host: string;
  /** Says of each request that passed by what it acts. */
  readonly grants: WeakMap<IncomingMessage, Grant>;
}

/** Say only whether the gateway lives, and are asked by programs that have neither token nor name for it. */
const OPEN_TO_ALL: ReadonlySet<string> = new Set(["/livez", "/readyz"]);

export function access(init: AccessInit): RequestHandler {
  const { tokens, audit, grants } = init;
  const checkSource = sourceCheck(init);
  return (request: Request, response: Response, next: NextFunction) => {
    const match = findEndpoint(request.method, request.path);
    const isOpen = match.kind === "found" && match.endpoint.power === "none";
    const text = bearerToken(request);
    // Pages of other sites have no token; whoever sends one need not come from here.
    if (text === undefined && !tokens.hasRoot && !OPEN_TO_ALL.has(request.path)) checkSource(request);
    if (!isOpen) {
      const grant = text === undefined ? localGrant(init, request) : recognise(init, request, text);
      if (match.kind === "found" && match.endpoint.power !== "none" && !grant.can(match.endpoint.power)) {
        const { power } = match.endpoint;
        audit.recordRefusal(grant.actor, request.path, `${request.method} needs ${power}`);
        throw new Refusal(
          "forbidden",
          `This needs a token that can ${power}; yours can only ${powerWords(grant.authority.can)}. Ask for another: capmesh token create --can ${power}.`,
        );
      }
      grants.set(request, grant);
      // Who takes back the own token is told so.
      if (match.kind !== "found" || match.endpoint.path !== "/tokens/{id}") endWith(grant, response);
    }
    if (match.kind === "found") next();
    else throw refusalOf(request, match);
  };
}

function refusalOf(request: Request, match: Exclude<ReturnType<typeof findEndpoint>, { kind: "found" }>): Refusal {
  if (match.kind === "not-found") return notFound();
  return new Refusal("method-not-allowed", `This address takes ${match.allow}, and not ${request.method}.`, {
    headers: { allow: match.allow },
  });
}

export function notFound(): Refusal {
  return new Refusal("not-found", "There is nothing at this address: GET /openapi.json lists what there is.");
}

function localGrant({ tokens, audit }: AccessInit, request: Request): Grant {
  if (!tokens.hasRoot) return tokens.local;
  audit.recordRefusal("nobody", request.path, `${request.method}: without a token`);
  throw unauthenticated(
    "This gateway needs a token: send it as `Authorization: Bearer <token>` (CAPMESH_TOKEN, --token).",
  );
}

function recognise({ tokens, audit }: AccessInit, request: Request, text: string): Grant {
  const recognition = tokens.recognise(text);
  if (recognition.kind !== "known") {
    const id = recognition.kind === "ended" ? parseTokenText(text)?.id : undefined;
    const what = recognition.kind === "ended" ? `its token is ${recognition.state}` : "its token is not valid here";
    audit.recordRefusal(id === undefined ? "nobody" : tokenSubmitter(id), request.path, `${request.method}: ${what}`);
  }
  switch (recognition.kind) {
    case "known":
      return recognition.grant;
    case "ended":
      throw unauthenticated(
        recognition.state === "expired"
          ? "The token has expired: ask whoever made it for another."
          : "The token was revoked: ask whoever made it for another.",
      );
    case "unknown":
      throw unauthenticated(
        "The token is not valid here: capmesh token create makes one; admin-token is in the gateway's data directory.",
      );
  }
}

function unauthenticated(detail: string): Refusal {
  return new Refusal("unauthenticated", detail, { headers: { "www-authenticate": 'Bearer realm="capmesh"' } });
}

function bearerToken(request: Request): string | undefined {
  const [authorization, second] = request.headersDistinct["authorization"] ?? [];
  if (authorization === undefined) return undefined;
  if (second !== undefined) throw unauthenticated("The request has two Authorization headers: send one.");
  // What is no bearer token is a wrong one: it is not to count as none.
  return /^bearer +(\S+) *$/i.exec(authorization)?.[1] ?? "";
}

/** Cuts the answer off when the grant ends before it does. */
function endWith(grant: Grant, response: Response): void {
  if (grant.token === undefined) return;
  const cut = (): void => void response.destroy();
  grant.ended.addEventListener("abort", cut, { once: true });
  response.once("close", () => grant.ended.removeEventListener("abort", cut));
}

function sourceCheck({ allowHosts, host }: AccessInit): (request: Request) => void {
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
    // Some requests of pages elsewhere name no origin, an image's for one; a person may follow a link to the dashboard.
    if (request.headers["sec-fetch-site"] === "cross-site" && !isVisit(request)) {
      throw new Refusal("forbidden", "Pages of other sites may not use this gateway: open its own page.");
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

function isVisit({ method, path, headers }: Request): boolean {
  return (
    method === "GET" &&
    path === "/" &&
    headers["sec-fetch-mode"] === "navigate" &&
    headers["sec-fetch-dest"] === "document"
  );
}

function splitHost(host: string): { readonly name: string; readonly port: string } | undefined {
  const match = /^(\[[0-9a-f:.]+\]|[^:[\]@/\\?#\s]+)(?::(\d{1,5}))?$/i.exec(host);
  return match?.[1] === undefined ? undefined : { name: bareHost(match[1]), port: match[2] ?? "" };
}

function defaultPort(protocol: string): string {
  return protocol === "https:" ? "443" : "80";
}
