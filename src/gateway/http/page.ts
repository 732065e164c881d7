/** `/`: the status page. Its files are read once, when the server opens. */
import { Router } from "express";
import { readFile } from "node:fs/promises";
import { answeredByEtag, weakEtag } from "./etag.ts";

/** The page loads its own files and talks to its own gateway, and to nothing else. */
const PAGE_CSP = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const FILES = [
  { path: "/", file: "page.html", type: "text/html; charset=utf-8" },
  { path: "/page.js", file: "page.js", type: "text/javascript; charset=utf-8" },
  { path: "/page.css", file: "page.css", type: "text/css; charset=utf-8" },
] as const;

export async function pageRouter(): Promise<Router> {
  const router = Router();
  for (const { path, file, type } of FILES) {
    const body = await readFile(new URL(`page/${file}`, import.meta.url));
    const etag = weakEtag(body);
    router.get(path, (request, response) => {
      response.setHeader("content-type", type);
      response.setHeader("content-security-policy", PAGE_CSP);
      response.setHeader("cache-control", "no-cache");
      if (!answeredByEtag(request, response, etag)) response.end(body);
    });
  }
  return router;
}
