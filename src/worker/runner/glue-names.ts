/**
 * Names that the JavaScript of a transpiled component must not hold. jco pastes the names of a component's core modules
 * into string literals as they are, so that one with a quote in it goes on as code. That code would find itself in a
 * runner without powers; but it is not the guest that anybody sent, and there is no need to let it that far. Names of
 * the component's own outside are checked by jco: letters, digits and dashes.
 */
import type { ModuleInspection } from "../../model/module.ts";

/** Printable ASCII, without what ends or escapes a literal of any kind, or a comment. */
const PLAIN = /^(?:(?!\$\{|\*\/)[ !#-&(-[\]-_a-~])*$/;
const SHOWN_LENGTH = 80;

/** Why a core module's names cannot be in transpiled code; undefined: they can. */
export function refuseGlueNames(inspection: Pick<ModuleInspection, "imports" | "exports">): string | undefined {
  const names = [
    ...inspection.imports.flatMap(({ module, name }) => [module, name]),
    ...inspection.exports.map(({ name }) => name),
  ];
  const unsafe = names.find((name) => !PLAIN.test(name));
  if (unsafe === undefined) return undefined;
  const shown = unsafe.length > SHOWN_LENGTH ? `${unsafe.slice(0, SHOWN_LENGTH)}…` : unsafe;
  return `a core module in it has the name ${JSON.stringify(shown)}, which would be code once it is transpiled: use letters`;
}
