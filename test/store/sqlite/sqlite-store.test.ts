import { storeContract } from "../store-contract.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

storeContract("SqliteStore", () => SqliteHarness.open());
