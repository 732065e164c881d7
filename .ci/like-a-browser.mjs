/**
 * Preloaded into a Node process that is to be like a browser: the program itself may read files, but the packages it
 * imports get no module of Node's and none of its globals.
 */
import { registerHooks } from "node:module";

const isPackage = (place) => place?.includes("/node_modules/") ?? false;

registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    if (resolved.url.startsWith("node:") && isPackage(context.parentURL)) {
      throw new Error(`${specifier} is not there in a browser: ${context.parentURL}`);
    }
    return resolved;
  },
});

// Node's own `fetch` needs them.
for (const name of ["Buffer", "process", "setImmediate", "clearImmediate"]) {
  const value = globalThis[name];
  Object.defineProperty(globalThis, name, {
    get() {
      const caller = new Error().stack?.split("\n")[2];
      if (isPackage(caller)) throw new Error(`${name} is not there in a browser: ${caller?.trim()}`);
      return value;
    },
  });
}
