/** Why `fetch` failed, as one sentence's end: what it throws says nothing itself, and its cause may be OpenSSL's trace. */
import { messageOf } from "../base/errors.ts";

/** What a certificate may be that is not trusted, by Node's codes. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

export function fetchFailure(thrown: unknown): string {
  if (!(thrown instanceof Error) || !(thrown.cause instanceof Error)) return messageOf(thrown);
  const { cause } = thrown;
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
  if (UNTRUSTED.has(code)) {
    return "its certificate is none that is trusted here; for one made by yourselves: NODE_EXTRA_CA_CERTS=<its file>";
  }
  if (cause.message === "bad port") return "fetch, as browsers do, refuses to talk to this port; choose another";
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER") return "it does not speak TLS there; is it http:// and not https://?";
  if (/^ERR_(?:SSL|OSSL)_/.test(code)) return `the TLS handshake failed (${sslReason(cause)})`;
  return cause.message === "" ? messageOf(thrown) : cause.message;
}

function sslReason(error: Error): string {
  return "reason" in error && typeof error.reason === "string" ? error.reason : "it says no more";
}
