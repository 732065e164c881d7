/**
 * fast-check, with the seed that TEST_SEED gives. Continuous integration gives one, so that a push is judged by what it
 * changes; without it each run draws its own, and a property that fails prints it.
 */
import fc from "fast-check";

/** What tests that draw at random begin with; undefined: each run its own. */
export const testSeed = process.env["TEST_SEED"] === undefined ? undefined : Number(process.env["TEST_SEED"]);

if (testSeed !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: testSeed });

export { fc };
