/** Holds the data directory given as its argument until it is killed. */
import { DataDirectory } from "../../src/net/data-directory.ts";

await using directory = await DataDirectory.open(process.argv[2] ?? "");
process.send?.("held");
await new Promise(() => setInterval(() => directory.path, 1_000));
