/**
 * `capmesh completion bash | zsh | fish`: a script for the shell, made from the commands as they are defined, so that it
 * never knows others. It completes commands, flags and the values of flags that have a list of them.
 */
import { Argument, type Command, type Option } from "commander";
import { Output } from "./output.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

const HELP = `
Examples:
  capmesh completion bash > ~/.local/share/bash-completion/completions/capmesh
  capmesh completion zsh > "\${fpath[1]}/_capmesh"
  capmesh completion fish > ~/.config/fish/completions/capmesh.fish`;

export function defineCompletion(program: Command): void {
  program
    .command("completion")
    .description("a script that completes commands and flags in a shell")
    .addArgument(new Argument("<shell>", "which one").choices(SHELLS))
    .addHelpText("after", HELP)
    .action((shell: string) => {
      const output = new Output({ isJson: false, env: process.env });
      output.line(completionScript(program, shell));
    });
}

/** A command that can be typed: the words that lead to it, and what may follow. */
interface Place {
  readonly path: readonly string[];
  readonly commands: readonly Word[];
  readonly flags: readonly Word[];
}

interface Word {
  readonly text: string;
  readonly help: string;
  /** Of a flag: it is followed by a value. */
  readonly takesValue: boolean;
}

export function completionScript(program: Command, shell: string): string {
  const places = placesOf(program, []);
  switch (shell) {
    case "zsh":
      return zshScript(places);
    case "fish":
      return fishScript(places);
    default:
      return bashScript(places);
  }
}

function placesOf(command: Command, path: readonly string[]): readonly Place[] {
  const place: Place = {
    path,
    commands: command.commands.map((each) => ({ text: each.name(), help: each.description(), takesValue: false })),
    flags: command.options.filter(({ hidden }) => !hidden).flatMap(flagWords),
  };
  return [place, ...command.commands.flatMap((each) => placesOf(each, [...path, each.name()]))];
}

function flagWords(option: Option): readonly Word[] {
  const takesValue = option.required || option.optional;
  return option.long === undefined ? [] : [{ text: option.long, help: option.description, takesValue }];
}

/** The words before the cursor that are no flags lead to a place; values of flags are not told from words. */
function bashScript(places: readonly Place[]): string {
  const cases = places.map(
    ({ path, commands, flags }) =>
      `    ${quote(path.join(" "))}) words=${quote([...commands, ...flags].map(({ text }) => text).join(" "))} ;;`,
  );
  const valued = [...new Set(places.flatMap(({ flags }) => flags.filter((flag) => flag.takesValue)))].map(
    ({ text }) => text,
  );
  return `# capmesh: completion for bash
_capmesh() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" word index
  case " ${[...new Set(valued)].join(" ")} " in
    *" $previous "*) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    case "$word" in -*) continue ;; esac
    case "\${path:+$path }$word" in
${places
  .filter(({ path }) => path.length > 0)
  .map(({ path }) => `      ${quote(path.join(" "))}) path=${quote(path.join(" "))} ;;`)
  .join("\n")}
    esac
  done
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ "\${#COMPREPLY[@]}" -gt 0 ] || COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _capmesh capmesh`;
}

function zshScript(places: readonly Place[]): string {
  const cases = places.map(({ path, commands, flags }) => {
    const described = (words: readonly Word[]): string =>
      words.map(({ text, help }) => quote(`${text}:${help.replaceAll(":", "\\:")}`)).join(" ");
    return `    ${quote(path.join(" "))})
      commands=(${described(commands)})
      flags=(${described(flags)}) ;;`;
  });
  return `#compdef capmesh
# capmesh: completion for zsh
_capmesh() {
  local path_words="" word
  local -a commands flags
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ "$word" == -* ]] && continue
    case "\${path_words:+$path_words }$word" in
${places
  .filter(({ path }) => path.length > 0)
  .map(({ path }) => `      ${quote(path.join(" "))}) path_words=${quote(path.join(" "))} ;;`)
  .join("\n")}
    esac
  done
  case "$path_words" in
${cases.join("\n")}
  esac
  if [[ "$words[CURRENT]" == -* ]]; then
    _describe flag flags
  else
    (( $#commands )) && _describe command commands
    _files
  fi
}
compdef _capmesh capmesh`;
}

function fishScript(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, commands, flags }) => {
    const condition =
      path.length === 0
        ? "__fish_use_subcommand"
        : path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
    const rest =
      commands.length > 0 && path.length > 0 ? `; and not __fish_seen_subcommand_from ${texts(commands)}` : "";
    const when = `complete -c capmesh -n ${quote(condition + rest)}`;
    return [
      ...commands.map(({ text, help }) => `${when} -f -a ${text} -d ${quote(help)}`),
      ...flags.map(
        ({ text, help, takesValue }) => `${when} -l ${text.slice(2)}${takesValue ? " -r" : ""} -d ${quote(help)}`,
      ),
    ];
  });
  return ["# capmesh: completion for fish", ...lines].join("\n");
}

function texts(words: readonly Word[]): string {
  return words.map(({ text }) => text).join(" ");
}

/** For all three shells; line ends have no place in a description. */
function quote(text: string): string {
  return `'${text.replaceAll(/\s+/g, " ").replaceAll("'", "'\\''")}'`;
}
