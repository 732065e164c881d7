/** The certificate and the key that HTTPS takes: read, and held against each other, before anything is opened. */
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { failed, messageOf } from "../base/errors.ts";

export interface TlsFiles {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

/** `paths` of two files. Rejects with `failed`, code `usage`, which names the flag, the file and what to do. */
export async function readTlsFiles(paths: TlsFiles): Promise<TlsFiles> {
  const [cert, key] = [await readPem("--tls-cert", paths.cert), await readPem("--tls-key", paths.key)];
  const certificate = parsed(() => new X509Certificate(cert), `--tls-cert: ${paths.cert} is no certificate`, CERT_FIX);
  const fix = key.includes("ENCRYPTED") ? ENCRYPTED_FIX : KEY_FIX;
  const privateKey = parsed(() => createPrivateKey(key), `--tls-key: ${paths.key} is no private key to be used`, fix);
  if (certificate.checkPrivateKey(privateKey)) return { cert, key };
  throw failed(
    `--tls-key: ${paths.key} is not the key of the certificate ${paths.cert}: give the two that were made together; the server's own certificate comes first in its file`,
    { code: "usage" },
  );
}

const CERT_FIX = "give PEM, which begins with -----BEGIN CERTIFICATE-----";
const KEY_FIX = "give PEM, which begins with -----BEGIN PRIVATE KEY-----";
const ENCRYPTED_FIX = "it has a passphrase, which openssl pkey -in <file> -out <other> takes off";

function parsed<T>(parse: () => T, what: string, fix: string): T {
  try {
    return parse();
  } catch (cause) {
    throw failed(`${what}: ${fix}`, { code: "usage", cause });
  }
}

async function readPem(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw failed(`${flag}: ${path} cannot be read: ${messageOf(cause)}`, { code: "usage", cause });
  }
}
