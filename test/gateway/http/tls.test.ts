import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { request } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ApiGateway } from "../../support/api-gateway.ts";

/** A certificate made for the test; undefined where there is no openssl. */
function makeCertificate(): { readonly cert: string; readonly key: string } | undefined {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-tls-"));
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const ask = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  try {
    execFileSync("openssl", [...ask, ...subject, "-keyout", key, "-out", cert], { stdio: "ignore" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  } catch {
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const tls = makeCertificate();

test.skipIf(tls === undefined)("HTTPS is spoken where there is a certificate", async () => {
  if (tls === undefined) return;
  await using gateway = await ApiGateway.open({ tls });
  expect(gateway.url).toBe(`https://127.0.0.1:${gateway.port}`);
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  request(`${gateway.url}/tasks`, { ca: tls.cert, agent: false }, (response) => {
    response.resume().on("end", () => resolve(response.statusCode));
  })
    .on("error", reject)
    .end();
  expect(await promise).toBe(200);
});

test.skipIf(tls === undefined)(
  "who connects and never agrees on TLS is cut off when the server is told to close",
  async () => {
    if (tls === undefined) return;
    await using gateway = await ApiGateway.open({ tls });
    const { server } = gateway;
    const socket = connect(gateway.port, "127.0.0.1");
    socket.on("error", () => {});
    await once(socket, "connect");
    // It is accepted no later than one that comes after it and is answered.
    await new Promise<void>((resolve, reject) => {
      request(`${gateway.url}/livez`, { ca: tls.cert, agent: false }, (response) =>
        response.resume().on("end", resolve),
      )
        .on("error", reject)
        .end();
    });
    const closed = once(socket, "close");
    await server.close({ signal: AbortSignal.abort() });
    await closed;
  },
);
