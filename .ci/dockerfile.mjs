/**
 * Carries out a Dockerfile without Docker: the instructions that ours has, with the image's paths put below a folder of
 * each stage. What an image's base brings is the machine's own; `USER` is whoever runs this. An instruction that is not
 * known here is an error, so that nothing of the file goes untried.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync } from "node:fs";
import { basename, join, matchesGlob, resolve } from "node:path";
import { StepError, plainEnvironment, run } from "./steps.mjs";

/** What of an image's paths is put below the stage's folder; the rest is the machine's. */
const OWN_PATH = /(?<![\w./-])\/(?=(?:app|data|usr\/local)\b)/g;

/** The result: `{ folder, env, entrypoint, command, healthcheck }`, its paths already put where they are. */
export async function carryOut(file, { context, scratch, user }) {
  const stages = new Map();
  let stage;
  for (const [word, rest] of instructions(readFileSync(file, "utf8"))) {
    if (word === "FROM") {
      const [, image, name = String(stages.size)] = /^(\S+)(?: AS (\S+))?$/i.exec(rest) ?? [];
      const folder = join(scratch, `stage-${name}`);
      stage = { image, folder, env: {}, workdir: folder };
      stages.set(name, stage);
      mkdirSync(join(folder, "usr/local/bin"), { recursive: true });
      continue;
    }
    const act = ACTS[word];
    if (act === undefined) throw new StepError(`${word} is not known to this check: teach it, in .ci/dockerfile.mjs`);
    await act(stage, rest, { context, stages, user });
  }
  return stage;
}

function instructions(text) {
  const lines = text.replaceAll(/^\s*#.*\n/gm, "").replaceAll(/\\\n/g, " ");
  return lines
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => [line.trim().split(/\s/, 1)[0], line.trim().replace(/^\S+\s+/, "")]);
}

const ACTS = {
  WORKDIR(stage, path) {
    stage.workdir = placed(stage, path);
    mkdirSync(stage.workdir, { recursive: true });
  },
  ENV(stage, text) {
    for (const [, name, value] of text.matchAll(/(\w+)=(\S+)/g)) stage.env[name] = placed(stage, value);
  },
  COPY(stage, text, { context, stages }) {
    const words = text.split(/\s+/);
    const from = /^--from=(.+)$/.exec(words[0])?.[1];
    const source = from === undefined ? undefined : stages.get(from);
    const paths = from === undefined ? words : words.slice(1);
    const target = resolve(stage.workdir, placed(stage, paths.pop()));
    for (const path of paths) {
      const file = source === undefined ? join(context, path) : placed(source, path);
      if (!existsSync(file)) throw new StepError(`COPY ${text}: ${path} is not there`);
      const isInto = !statSync(file).isDirectory();
      // Links between programs are relative, and stay so.
      cpSync(file, isInto ? join(target, basename(file)) : target, { recursive: true, verbatimSymlinks: true });
    }
  },
  async RUN(stage, text, { user }) {
    const command = placed(stage, text).replaceAll(/ -([og]) node\b/g, (_, flag) => ` -${flag} ${user[flag]}`);
    await run("sh", ["-e", "-c", command], { cwd: stage.workdir, env: environment(stage) });
  },
  HEALTHCHECK(stage, text) {
    stage.healthcheck = list(stage, text.slice(text.indexOf("CMD ") + "CMD ".length));
  },
  ENTRYPOINT(stage, text) {
    stage.entrypoint = list(stage, text);
  },
  CMD(stage, text) {
    stage.command = list(stage, text);
  },
  USER() {},
  VOLUME() {},
  EXPOSE() {},
};

function list(stage, text) {
  return JSON.parse(text).map((word) => placed(stage, word));
}

function placed(stage, text) {
  return text.replaceAll(OWN_PATH, `${stage.folder}/`);
}

/** Of a process in the image. npm takes what it has fetched before. */
export function environment(stage, more = {}) {
  const path = `${join(stage.folder, "usr/local/bin")}:${process.env.PATH}`;
  return plainEnvironment({ npm_config_prefer_offline: "true", ...stage.env, PATH: path, ...more });
}

/** What of `folder` Docker is given, by its `.dockerignore`, copied to `target`. */
export function copyContext(folder, target) {
  const patterns = readFileSync(join(folder, ".dockerignore"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({ isKept: line.startsWith("!"), glob: line.replace(/^!/, "") }));
  const isKept = (path) => {
    const names = path.split("/");
    const parents = names.map((_, index) => names.slice(0, index + 1).join("/"));
    const last = patterns.findLast(({ glob }) => parents.some((parent) => matchesGlob(parent, glob)));
    return last === undefined || last.isKept;
  };
  for (const name of readdirSync(folder)) {
    if (!isKept(name)) continue;
    cpSync(join(folder, name), join(target, name), {
      recursive: true,
      filter: (source) => statSync(source).isDirectory() || isKept(source.slice(folder.length)),
    });
  }
}
