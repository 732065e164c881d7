import { generateKeyPairSync } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readTlsFiles } from "../../src/app/tls-files.ts";

/** A certificate, its key, the key of another, and two files that are neither; gone when it is disposed. */
class Files implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "capmesh-tls-files-"));
  readonly cert = join(this.folder, "cert.pem");
  readonly key = join(this.folder, "key.pem");

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text);
    return path;
  }

  makeCertificate(): void {
    const ask = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    execFileSync("openssl", [...ask, "-subj", "/CN=localhost", "-keyout", this.key, "-out", this.cert], {
      stdio: "ignore",
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const hasOpenssl = ((): boolean => {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

test.skipIf(!hasOpenssl)("two that were made together are taken, and nothing else", async () => {
  using files = new Files();
  files.makeCertificate();
  const { cert, key } = files;
  expect((await readTlsFiles({ cert, key })).key).toContain("PRIVATE KEY");
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const other = files.write("other.pem", privateKey);
  const bad = files.write("bad.pem", "nothing");
  const usage = (text: string): unknown =>
    expect.objectContaining({ code: "usage", message: expect.stringContaining(text) });
  await expect(readTlsFiles({ cert, key: other })).rejects.toEqual(usage(`--tls-key: ${other} is not the key`));
  await expect(readTlsFiles({ cert: bad, key })).rejects.toEqual(usage(`--tls-cert: ${bad} is no certificate`));
  await expect(readTlsFiles({ cert, key: bad })).rejects.toEqual(usage(`--tls-key: ${bad} is no private key`));
});
