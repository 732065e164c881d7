/** `capmesh module ls | push | inspect`. */
import type { Command } from "commander";
import type { ModuleJson } from "../api/module-json.ts";
import { type ModuleFile, inspectModuleFile } from "../app/module-file.ts";
import { CLIENT_SETTINGS, contextOf, defineSettings, parseCount } from "./command-context.ts";
import type { Output } from "./output.ts";
import { fileBlob } from "./submit-options.ts";
import { ageText } from "./words.ts";

const PUSH_HELP = `
Examples:
  capmesh module push sort.wasm
  curl -F module=$(capmesh module push sort.wasm) http://127.0.0.1:8080/tasks

The gateway keeps it while a task uses it, and for a week after it was last sent
or named (see --retain-modules).`;

const INSPECT_HELP = `
Examples:
  capmesh module inspect sort.wasm    a file, read here: no gateway is asked
  capmesh module inspect 3b0c…        one of the gateway, by its whole SHA-256`;

export function defineModule(program: Command): void {
  const module = program.command("module").description("send modules once, and look at them");
  defineList(module);
  definePush(module);
  defineInspect(module);
}

function defineList(module: Command): void {
  const command = module
    .command("ls")
    .description("modules that the gateway has, newest first")
    .option("--limit <n>", "how many (default: all)", parseCount);
  defineSettings(command, CLIENT_SETTINGS).action(async ({ limit }: { readonly limit?: number }) => {
    const { client, output } = contextOf(command);
    const modules = await Array.fromAsync(client.listModules({ limit }));
    if (output.isJson) return output.json(modules);
    const now = Date.now();
    output.table(
      [
        // Whole: it is what `module=` takes.
        { heading: "SHA-256", value: (row) => row.sha256 },
        { heading: "KIND", value: (row) => row.kind },
        { heading: "BYTES", value: (row) => String(row.size) },
        { heading: "AGE", value: (row) => ageText(row.createdAt, now), isFlexible: true, widthMin: 3 },
        { heading: "EXPORTS", value: (row) => row.exports.map(({ name }) => name).join(" "), isFlexible: true },
      ],
      modules,
      "no modules; send one with `capmesh module push <file>`",
    );
  });
}

function definePush(module: Command): void {
  const command = module
    .command("push")
    .description("send a module; prints its SHA-256, which tasks name it by")
    .argument("<file>")
    .addHelpText("after", PUSH_HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async (file: string) => {
    const { client, output } = contextOf(command);
    const { module: pushed, isNew } = await client.putModule(await fileBlob(file, "<file>"));
    if (output.isJson) return output.json({ ...pushed, isNew });
    output.line(pushed.sha256);
    output.say(isNew ? "the gateway has it now" : "the gateway had it already");
  });
}

function defineInspect(module: Command): void {
  const command = module
    .command("inspect")
    .description("a module's kind, imports and exports: of a file, or of one that the gateway has")
    .argument("<file or sha256>")
    .addHelpText("after", INSPECT_HELP);
  defineSettings(command, CLIENT_SETTINGS).action(async (name: string) => {
    const { client, output } = contextOf(command);
    // A file of that name can be given as ./<name>.
    const isDigest = /^[0-9a-f]{64}$/i.test(name);
    const found = isDigest ? await client.getModule(name) : await inspectModuleFile(name);
    if (output.isJson) return output.json(found);
    print(output, found);
  });
}

function print(output: Output, module: ModuleJson | ModuleFile): void {
  const local = "rejection" in module ? module : undefined;
  const fields: readonly (readonly [string, string | undefined])[] = [
    ["sha256", module.sha256],
    ["kind", module.kind],
    ["size", `${module.size} bytes, ${module.codeSize} of code`],
    ["created", "createdAt" in module ? module.createdAt : undefined],
    ["entry", local?.entry ?? undefined],
    ["refused", local?.rejection ?? undefined],
  ];
  const columns = [
    { heading: "FIELD", value: (row: readonly [string, string | undefined]) => row[0] },
    { heading: "VALUE", value: (row: readonly [string, string | undefined]) => row[1] ?? "", isFlexible: true },
  ];
  output.table(
    columns,
    fields.filter(([, value]) => value !== undefined),
    "",
  );
  const outside = [
    ...module.imports.map(({ module: from, name, kind }) => ({
      way: "import",
      name: from === "" ? name : `${from}.${name}`,
      kind,
    })),
    ...module.exports.map(({ name, kind, signature }) => ({ way: "export", name, kind: signature ?? kind })),
  ];
  output.line("");
  output.table(
    [
      { heading: "WAY", value: (row) => row.way },
      { heading: "NAME", value: (row) => row.name, isFlexible: true },
      { heading: "KIND", value: (row) => row.kind, isFlexible: true },
    ],
    outside,
    "it imports and exports nothing",
  );
}
