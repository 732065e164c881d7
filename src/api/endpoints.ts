/**
 * Every address of the HTTP API, the methods it takes, and the power that each takes: what is not here is not answered.
 * The server authorizes by this table and refuses by it; `/openapi.json` describes it.
 */
import { type Power, POWERS } from "../model/token.ts";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface Endpoint {
  readonly method: Method;
  /** Parts in braces stand for one segment each; one that ends with `*}` for all that are left. */
  readonly path: string;
  /** `none`: whoever reaches the server may ask. */
  readonly power: Power | "none";
}

/** One line an address: its path, and for each method the power that it takes. */
const ADDRESSES: Readonly<Record<string, Partial<Record<Method, Power | "none">>>> = {
  "/": { GET: "none" },
  "/page.js": { GET: "none" },
  "/page.css": { GET: "none" },
  "/livez": { GET: "none" },
  "/readyz": { GET: "none" },
  "/openapi.json": { GET: "none" },
  "/metrics": { GET: "read" },
  "/tasks": { GET: "read", POST: "submit" },
  "/tasks/batch": { POST: "submit" },
  "/tasks/{id}": { GET: "read", DELETE: "submit" },
  "/tasks/{id}/cancel": { POST: "submit" },
  "/tasks/{id}/retry": { POST: "submit" },
  "/tasks/{id}/explain": { GET: "read" },
  "/tasks/{id}/logs": { GET: "read" },
  "/tasks/{id}/runs": { GET: "read" },
  "/tasks/{id}/runs/{n}": { GET: "read" },
  "/tasks/{id}/runs/{n}/files": { GET: "read" },
  "/tasks/{id}/runs/{n}/files/{path*}": { GET: "read" },
  "/modules": { GET: "read", PUT: "submit" },
  "/modules/{sha256}": { GET: "read" },
  "/workers": { GET: "read" },
  "/workers/{id}": { GET: "read", DELETE: "admin" },
  "/workers/{id}/admit": { POST: "admin" },
  "/workers/{id}/drain": { POST: "admin" },
  "/cluster": { GET: "read" },
  "/events": { GET: "read" },
  "/tokens": { GET: "admin", POST: "admin" },
  "/tokens/{id}": { DELETE: "admin" },
  "/secret/rotate": { POST: "admin" },
  "/audit": { GET: "admin" },
};

const METHODS: readonly Method[] = ["GET", "POST", "PUT", "DELETE"];

export const ENDPOINTS: readonly Endpoint[] = Object.entries(ADDRESSES).flatMap(([path, powers]) =>
  METHODS.flatMap((method) => {
    const power = powers[method];
    return power === undefined ? [] : [{ method, path, power }];
  }),
);

const BY_PATTERN = Object.keys(ADDRESSES).map((path) => ({
  pattern: patternOf(path),
  endpoints: ENDPOINTS.filter((endpoint) => endpoint.path === path),
}));

export type EndpointMatch =
  | { readonly kind: "found"; readonly endpoint: Endpoint }
  /** The address exists, and takes other methods: `GET, HEAD, POST`. */
  | { readonly kind: "wrong-method"; readonly allow: string }
  | { readonly kind: "not-found" };

/** What a request asks for. A HEAD is a GET whose body nobody wants. */
export function findEndpoint(method: string, path: string): EndpointMatch {
  const wanted = method === "HEAD" ? "GET" : method;
  // `/tasks/batch` is also `/tasks/{id}`.
  const matching = BY_PATTERN.filter(({ pattern }) => pattern.test(path)).flatMap(({ endpoints }) => endpoints);
  if (matching.length === 0) return { kind: "not-found" };
  const endpoint = matching.find((each) => each.method === wanted);
  if (endpoint !== undefined) return { kind: "found", endpoint };
  const methods = new Set(matching.flatMap((each) => (each.method === "GET" ? ["GET", "HEAD"] : [each.method])));
  return { kind: "wrong-method", allow: Array.from(methods).join(", ") };
}

function patternOf(path: string): RegExp {
  const source = path
    .replaceAll(/\{\w+\*\}/g, ".+")
    .replaceAll(/\{\w+\}/g, "[^/]+")
    .replaceAll(".js", "\\.js");
  return new RegExp(`^${source === "/" ? "" : source}/?$`);
}

/** What somebody who can do `can` is told, and programs too. */
export function powerWords(can: readonly Power[]): string {
  return POWERS.filter((power) => can.includes(power)).join(", ") || "nothing";
}
