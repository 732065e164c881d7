/**
 * Which answers are compressed, for readers that accept it: texts of some length that were asked for by GET. Not live
 * streams, whose events are not to wait for one another; not kept files, which are sent in ranges and as they are; not
 * answers to POST, so that no secret, as a token's text, is ever compressed beside something of the asker's choice.
 */
import compression from "compression";
import type { RequestHandler } from "express";
import { constants } from "node:zlib";
import { COMPRESS_BYTES_MIN } from "../../base/limits.ts";

const TEXT = /^(?:application\/(?:[a-z.-]+\+)?json|text\/(?:plain|html|css|javascript))\b/;

/** Fast ones: a gateway has better things to do with its cores. */
const GZIP_LEVEL = 4;
const BROTLI_QUALITY = 3;

export function compressed(): RequestHandler {
  return compression({
    threshold: COMPRESS_BYTES_MIN,
    level: GZIP_LEVEL,
    brotli: { params: { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } },
    filter: (request, response) =>
      request.method === "GET" && TEXT.test(String(response.getHeader("content-type") ?? "")),
  });
}
