/** A process that is a gateway. */
import { adminTokenFile } from "./admin-token.ts";
import type { Powers, RunningApp } from "./app.ts";
import { announce } from "./announce.ts";
import type { Config } from "./config.ts";
import { openGateway } from "./gateway-parts.ts";
import { runningApp } from "./running.ts";
import { withTracing } from "./tracing.ts";
import { VERSION } from "./version.ts";

export async function runGateway(config: Config, given: Powers): Promise<RunningApp> {
  await using stack = new AsyncDisposableStack();
  const powers = await withTracing(given, "capmesh-gateway", stack);
  const { gateway, host, http, identity, inspection, folder, dial, rpc } = await openGateway(config, powers, stack);
  const state = { role: "gateway", version: VERSION, labels: config.labels, slots: 0, busy: 0 } as const;
  stack.use(announce(host.membership, () => state, powers));
  void inspection.tidy();
  return runningApp({
    ready: {
      event: "ready",
      role: "gateway",
      peerId: identity.peerId,
      http: http.url,
      tokenFile: adminTokenFile(config, folder),
      dial,
      rpc,
      addrs: host.addrs(),
    },
    stack: stack.move(),
    graceMs: config.graceMs,
    drain: async ({ signal, handBackMs }) => {
      await gateway.drain({ signal });
      await http.closeWithin(handBackMs);
    },
    powers,
  });
}
