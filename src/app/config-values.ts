/** The values that settings take: each parser says what it expects when it refuses, with an example to copy. */
import { resolve } from "node:path";
import {
  LABEL_LENGTH_MAX,
  LEASE_MS_MAX,
  LEASE_MS_MIN,
  QUEUED_TASKS_MAX,
  SLOTS_MAX,
  TOKEN_LENGTH_MAX,
} from "../base/limits.ts";
import { isLoopback } from "../base/loopback.ts";
import { parseDuration } from "../api/duration.ts";
import { parsePeerId } from "../base/ids.ts";
import { PICK_POLICIES, type PickPolicy } from "../model/worker.ts";
import { isSecret } from "../net/join-proof.ts";
import { LOG_LEVELS, type HostPort, type LogFormat, type LogLevel } from "./config-sources.ts";

export type Parsed<T> = { readonly value: T } | { readonly expected: string };

/** Where a value stands: relative paths begin at `folder`, `~` is `home`. */
export interface ValuePlace {
  readonly folder: string;
  readonly home: string;
}

export type ValueParser<T> = (text: string, place: ValuePlace) => Parsed<T>;

const GRACE_MS_MAX = 24 * 3_600_000;
const RETAIN_MS_MAX = 36_525 * 24 * 3_600_000;
const WEIGHT_MAX = 1_000_000;

const NAMESPACE = /^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$/;
const HOST_PORT = /^(\[[0-9A-Fa-f:.]+\]|[^\s:[\]/#@]+):(\d{1,5})$/;
const MULTIADDR = /^\/(?:ip4|ip6|dns|dns4|dns6)\/[^/\s]+\/tcp\/\d+(?:\/[^\s#]+)*$/;
const LABEL = /^([A-Za-z0-9][A-Za-z0-9._/-]*)=(.*)$/s;
const TOKEN = /^[!-~]+$/;

export function parseSwitch(text: string): Parsed<boolean> {
  switch (text.toLowerCase()) {
    case "true":
    case "1":
    case "yes":
    case "on":
      return { value: true };
    case "false":
    case "0":
    case "no":
    case "off":
      return { value: false };
    default:
      return { expected: "true or false" };
  }
}

/** `host:port` or `[ipv6]:port`. The host is given back without brackets. */
export function parseHostPort(text: string): Parsed<HostPort> {
  const match = HOST_PORT.exec(text);
  const port = Number(match?.[2]);
  if (match?.[1] === undefined || port > 65_535) {
    return { expected: "host:port, such as 127.0.0.1:8080 for this machine only or 0.0.0.0:8080 for every interface" };
  }
  return { value: { host: match[1].replace(/^\[|\]$/g, ""), port } };
}

export function parseListen(text: string): Parsed<string> {
  return MULTIADDR.test(text) ? { value: text } : { expected: "a multiaddr, such as /ip4/0.0.0.0/tcp/4077" };
}

/** A shallow check, so that a slip is told at the start; what the text means is for the dialer. */
export function parseDial(text: string): Parsed<string> {
  const [where, secret] = splitOnce(text, "#");
  const hostPort = parseHostPort(where);
  const isAddress = where.startsWith("/") || parsePeerId(where) !== undefined || "value" in hostPort;
  if (isAddress && !/\s/.test(where) && (secret === undefined || isSecret(secret))) return { value: text };
  return {
    expected:
      "<peerId>, <peerId>#<secret> as the gateway prints it, a multiaddr (/ip4/…/tcp/…) or host:port; " +
      `after # ${SECRET_EXPECTED}`,
  };
}

export function parseRpc(text: string, place: ValuePlace): Parsed<string> {
  const expected = "tcp:127.0.0.1:<port> (loopback only) or unix:<path>";
  if (text.startsWith("unix:") && text.length > 5) return { value: `unix:${expandPath(text.slice(5), place)}` };
  if (!text.startsWith("tcp:")) return { expected };
  const address = parseHostPort(text.slice(4));
  return "value" in address && isLoopback(address.value.host) ? { value: text } : { expected };
}

export function parseNamespace(text: string): Parsed<string> {
  if (NAMESPACE.test(text)) return { value: text };
  return { expected: "1 to 40 letters, digits, - or _, the first a letter or digit" };
}

export function parsePath(text: string, place: ValuePlace): Parsed<string> {
  return text === "" ? { expected: "a path" } : { value: expandPath(text, place) };
}

export function parseStore(text: string, place: ValuePlace): Parsed<string> {
  if (text.startsWith("sqlite:") && text.length > 7) return { value: `sqlite:${expandPath(text.slice(7), place)}` };
  return { expected: "sqlite:<path>; no other store is built in" };
}

export function parseSlots(text: string): Parsed<number> {
  const slots = Number(text);
  if (/^\d+$/.test(text) && slots >= 1 && slots <= SLOTS_MAX) return { value: slots };
  return { expected: `a whole number from 1 to ${SLOTS_MAX}` };
}

export function parseWeight(text: string): Parsed<number> {
  const weight = Number(text);
  if (/^\d+$/.test(text) && weight <= WEIGHT_MAX) return { value: weight };
  return { expected: `a whole number from 0 to ${WEIGHT_MAX}` };
}

export function parsePick(text: string): Parsed<PickPolicy> {
  const policy = PICK_POLICIES.find((known) => known === text);
  return policy === undefined ? { expected: `one of ${PICK_POLICIES.join(", ")}` } : { value: policy };
}

export function parseLabel(text: string): Parsed<readonly [key: string, value: string]> {
  const match = LABEL.exec(text);
  if (match?.[1] === undefined || match[2] === undefined || isTooLong(match[1]) || isTooLong(match[2])) {
    return {
      expected:
        "key=value, such as zone=eu, the key of letters, digits and . _ / -, " +
        `each of at most ${LABEL_LENGTH_MAX} characters`,
    };
  }
  return { value: [match[1], match[2]] };
}

function isTooLong(text: string): boolean {
  return text.length > LABEL_LENGTH_MAX;
}

const SECRET_EXPECTED = "a join secret of 8 to 256 printable ASCII characters without spaces or commas";

export function parseSecret(text: string): Parsed<string> {
  return isSecret(text) ? { value: text } : { expected: SECRET_EXPECTED };
}

/** A bearer token, which travels in a header. */
export function parseToken(text: string): Parsed<string> {
  if (TOKEN.test(text) && text.length <= TOKEN_LENGTH_MAX) return { value: text };
  return { expected: `a token of at most ${TOKEN_LENGTH_MAX} printable ASCII characters without spaces` };
}

export function parseHostName(text: string): Parsed<string> {
  return /^[^\s:/]+$/.test(text) ? { value: text.toLowerCase() } : { expected: "a host name without port or scheme" };
}

export function parseGraceMs(text: string): Parsed<number> {
  const graceMs = parseDuration(text);
  if (graceMs !== undefined && graceMs <= GRACE_MS_MAX) return { value: graceMs };
  return { expected: "a duration of at most a day: seconds, or 500ms, 30s, 5m" };
}

export function parseLeaseMs(text: string): Parsed<number> {
  const leaseMs = parseDuration(text);
  if (leaseMs !== undefined && leaseMs >= LEASE_MS_MIN && leaseMs <= LEASE_MS_MAX) return { value: leaseMs };
  return { expected: `a duration from ${LEASE_MS_MIN / 1_000} s to ${LEASE_MS_MAX / 60_000} min: seconds, or 15s, 1m` };
}

export function parseQueue(text: string): Parsed<number> {
  const tasks = Number(text);
  if (/^\d+$/.test(text) && tasks >= 1 && tasks <= QUEUED_TASKS_MAX) return { value: tasks };
  return { expected: `a whole number from 1 to ${QUEUED_TASKS_MAX}` };
}

/** Undefined: for ever. */
export function parseRetainMs(text: string): Parsed<number | undefined> {
  if (text.toLowerCase() === "off") return { value: undefined };
  const retainMs = parseDuration(text);
  if (retainMs !== undefined && retainMs <= RETAIN_MS_MAX) return { value: retainMs === 0 ? undefined : retainMs };
  return { expected: "how long to keep them, such as 30d, 12h or 90m; 0 or off keeps them for ever" };
}

export function parseLogLevel(text: string): Parsed<LogLevel> {
  const level = LOG_LEVELS.find((known) => known === text);
  return level === undefined ? { expected: `one of ${LOG_LEVELS.join(", ")}` } : { value: level };
}

export function parseLogFormat(text: string): Parsed<LogFormat> {
  return text === "pretty" || text === "json" ? { value: text } : { expected: "pretty or json" };
}

/** An http(s) URL; given back without a slash at its end. */
export function parseUrl(text: string): Parsed<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") {
    return { expected: "the address of a gateway's API, such as http://127.0.0.1:8080" };
  }
  return { value: text.replace(/\/+$/, "") };
}

function expandPath(text: string, place: ValuePlace): string {
  return resolve(
    place.folder,
    text.replace(/^~(?=\/|$)/, () => place.home),
  );
}

function splitOnce(text: string, separator: string): readonly [string, string | undefined] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
