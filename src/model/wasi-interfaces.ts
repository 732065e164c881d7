/**
 * The interfaces of WASI 0.2 that guests are granted, with all that is in them: what the host in `worker/runner/child/wasi2`
 * provides, and nothing else. Texts are those of `component-scope.ts`. Functions that came with a later 0.2 are taken under
 * any 0.2.
 */

/** Of one interface: what each type is, and the type of each function. */
interface InterfaceText {
  readonly types?: Readonly<Record<string, string>>;
  readonly functions?: Readonly<Record<string, string>>;
}

const ERROR = "wasi:io/error.error";
const POLLABLE = "wasi:io/poll.pollable";
const INPUT_STREAM = "wasi:io/streams.input-stream";
const OUTPUT_STREAM = "wasi:io/streams.output-stream";
const DATETIME = "wasi:clocks/wall-clock.datetime";
const DESCRIPTOR = "wasi:filesystem/types.descriptor";
const TERMINAL_INPUT = "wasi:cli/terminal-input.terminal-input";
const TERMINAL_OUTPUT = "wasi:cli/terminal-output.terminal-output";

const ERROR_CODES = [
  "access,would-block,already,bad-descriptor,busy,deadlock,quota,exist,file-too-large,illegal-byte-sequence,in-progress",
  "interrupted,invalid,io,is-directory,loop,too-many-links,message-size,name-too-long,no-device,no-entry,no-lock",
  "insufficient-memory,insufficient-space,not-directory,not-empty,not-recoverable,unsupported,no-tty,no-such-device",
  "overflow,not-permitted,pipe,read-only,invalid-seek,text-file-busy,cross-device",
].join(",");

const CLI: Readonly<Record<string, InterfaceText>> = {
  "wasi:cli/environment": {
    functions: {
      "get-environment": "()->list<tuple<string,string>>",
      "get-arguments": "()->list<string>",
      "initial-cwd": "()->option<string>",
    },
  },
  "wasi:cli/exit": { functions: { exit: "(result)", "exit-with-code": "(u8)" } },
  "wasi:cli/stdin": { types: { "input-stream": INPUT_STREAM }, functions: { "get-stdin": `()->own<${INPUT_STREAM}>` } },
  "wasi:cli/stdout": {
    types: { "output-stream": OUTPUT_STREAM },
    functions: { "get-stdout": `()->own<${OUTPUT_STREAM}>` },
  },
  "wasi:cli/stderr": {
    types: { "output-stream": OUTPUT_STREAM },
    functions: { "get-stderr": `()->own<${OUTPUT_STREAM}>` },
  },
  "wasi:cli/terminal-input": { types: { "terminal-input": "resource" } },
  "wasi:cli/terminal-output": { types: { "terminal-output": "resource" } },
  "wasi:cli/terminal-stdin": {
    types: { "terminal-input": TERMINAL_INPUT },
    functions: { "get-terminal-stdin": `()->option<own<${TERMINAL_INPUT}>>` },
  },
  "wasi:cli/terminal-stdout": {
    types: { "terminal-output": TERMINAL_OUTPUT },
    functions: { "get-terminal-stdout": `()->option<own<${TERMINAL_OUTPUT}>>` },
  },
  "wasi:cli/terminal-stderr": {
    types: { "terminal-output": TERMINAL_OUTPUT },
    functions: { "get-terminal-stderr": `()->option<own<${TERMINAL_OUTPUT}>>` },
  },
};

const IO: Readonly<Record<string, InterfaceText>> = {
  "wasi:io/error": {
    types: { error: "resource" },
    functions: { "[method]error.to-debug-string": "(borrow<error>)->string" },
  },
  "wasi:io/poll": {
    types: { pollable: "resource" },
    functions: {
      "[method]pollable.ready": "(borrow<pollable>)->bool",
      "[method]pollable.block": "(borrow<pollable>)",
      poll: "(list<borrow<pollable>>)->list<u32>",
    },
  },
  "wasi:io/streams": {
    types: {
      error: ERROR,
      pollable: POLLABLE,
      "stream-error": `variant{last-operation-failed(own<${ERROR}>),closed}`,
      "input-stream": "resource",
      "output-stream": "resource",
    },
    functions: {
      "[method]input-stream.read": "(borrow<input-stream>,u64)->result<list<u8>,stream-error>",
      "[method]input-stream.blocking-read": "(borrow<input-stream>,u64)->result<list<u8>,stream-error>",
      "[method]input-stream.skip": "(borrow<input-stream>,u64)->result<u64,stream-error>",
      "[method]input-stream.blocking-skip": "(borrow<input-stream>,u64)->result<u64,stream-error>",
      "[method]input-stream.subscribe": `(borrow<input-stream>)->own<${POLLABLE}>`,
      "[method]output-stream.check-write": "(borrow<output-stream>)->result<u64,stream-error>",
      "[method]output-stream.write": "(borrow<output-stream>,list<u8>)->result<_,stream-error>",
      "[method]output-stream.blocking-write-and-flush": "(borrow<output-stream>,list<u8>)->result<_,stream-error>",
      "[method]output-stream.flush": "(borrow<output-stream>)->result<_,stream-error>",
      "[method]output-stream.blocking-flush": "(borrow<output-stream>)->result<_,stream-error>",
      "[method]output-stream.subscribe": `(borrow<output-stream>)->own<${POLLABLE}>`,
      "[method]output-stream.write-zeroes": "(borrow<output-stream>,u64)->result<_,stream-error>",
      "[method]output-stream.blocking-write-zeroes-and-flush": "(borrow<output-stream>,u64)->result<_,stream-error>",
      "[method]output-stream.splice": "(borrow<output-stream>,borrow<input-stream>,u64)->result<u64,stream-error>",
      "[method]output-stream.blocking-splice":
        "(borrow<output-stream>,borrow<input-stream>,u64)->result<u64,stream-error>",
    },
  },
};

const CLOCKS: Readonly<Record<string, InterfaceText>> = {
  "wasi:clocks/monotonic-clock": {
    types: { pollable: POLLABLE, instant: "u64", duration: "u64" },
    functions: {
      now: "()->u64",
      resolution: "()->u64",
      "subscribe-instant": `(u64)->own<${POLLABLE}>`,
      "subscribe-duration": `(u64)->own<${POLLABLE}>`,
    },
  },
  "wasi:clocks/wall-clock": {
    types: { datetime: "record{seconds:u64,nanoseconds:u32}" },
    functions: { now: "()->datetime", resolution: "()->datetime" },
  },
};

const RANDOM: Readonly<Record<string, InterfaceText>> = {
  "wasi:random/random": { functions: { "get-random-bytes": "(u64)->list<u8>", "get-random-u64": "()->u64" } },
  "wasi:random/insecure": {
    functions: { "get-insecure-random-bytes": "(u64)->list<u8>", "get-insecure-random-u64": "()->u64" },
  },
  "wasi:random/insecure-seed": { functions: { "insecure-seed": "()->tuple<u64,u64>" } },
};

/** By their names in the interface, without `[method]descriptor.` and the descriptor before the other parameters. */
const DESCRIPTOR_METHODS: Readonly<Record<string, readonly [parameters: string, result: string]>> = {
  "read-via-stream": ["u64", `result<own<${INPUT_STREAM}>,error-code>`],
  "write-via-stream": ["u64", `result<own<${OUTPUT_STREAM}>,error-code>`],
  "append-via-stream": ["", `result<own<${OUTPUT_STREAM}>,error-code>`],
  advise: ["u64,u64,advice", "result<_,error-code>"],
  "sync-data": ["", "result<_,error-code>"],
  "get-flags": ["", "result<descriptor-flags,error-code>"],
  "get-type": ["", "result<descriptor-type,error-code>"],
  "set-size": ["u64", "result<_,error-code>"],
  "set-times": ["new-timestamp,new-timestamp", "result<_,error-code>"],
  read: ["u64,u64", "result<tuple<list<u8>,bool>,error-code>"],
  write: ["list<u8>,u64", "result<u64,error-code>"],
  "read-directory": ["", "result<own<directory-entry-stream>,error-code>"],
  sync: ["", "result<_,error-code>"],
  "create-directory-at": ["string", "result<_,error-code>"],
  stat: ["", "result<descriptor-stat,error-code>"],
  "stat-at": ["path-flags,string", "result<descriptor-stat,error-code>"],
  "set-times-at": ["path-flags,string,new-timestamp,new-timestamp", "result<_,error-code>"],
  "link-at": ["path-flags,string,borrow<descriptor>,string", "result<_,error-code>"],
  "open-at": ["path-flags,string,open-flags,descriptor-flags", "result<own<descriptor>,error-code>"],
  "readlink-at": ["string", "result<string,error-code>"],
  "remove-directory-at": ["string", "result<_,error-code>"],
  "rename-at": ["string,borrow<descriptor>,string", "result<_,error-code>"],
  "symlink-at": ["string,string", "result<_,error-code>"],
  "unlink-file-at": ["string", "result<_,error-code>"],
  "is-same-object": ["borrow<descriptor>", "bool"],
  "metadata-hash": ["", "result<metadata-hash-value,error-code>"],
  "metadata-hash-at": ["path-flags,string", "result<metadata-hash-value,error-code>"],
};

const FILES: Readonly<Record<string, InterfaceText>> = {
  "wasi:filesystem/preopens": {
    types: { descriptor: DESCRIPTOR },
    functions: { "get-directories": `()->list<tuple<own<${DESCRIPTOR}>,string>>` },
  },
  "wasi:filesystem/types": {
    types: {
      "input-stream": INPUT_STREAM,
      "output-stream": OUTPUT_STREAM,
      error: ERROR,
      datetime: DATETIME,
      filesize: "u64",
      "link-count": "u64",
      "descriptor-type": "enum{unknown,block-device,character-device,directory,fifo,symbolic-link,regular-file,socket}",
      "descriptor-flags":
        "flags{read,write,file-integrity-sync,data-integrity-sync,requested-write-sync,mutate-directory}",
      "descriptor-stat":
        "record{type:descriptor-type,link-count:u64,size:u64," +
        ["access", "modification"].map((what) => `data-${what}-timestamp:option<${DATETIME}>,`).join("") +
        `status-change-timestamp:option<${DATETIME}>}`,
      "path-flags": "flags{symlink-follow}",
      "open-flags": "flags{create,directory,exclusive,truncate}",
      "new-timestamp": `variant{no-change,now,timestamp(${DATETIME})}`,
      "directory-entry": "record{type:descriptor-type,name:string}",
      "error-code": `enum{${ERROR_CODES}}`,
      advice: "enum{normal,sequential,random,will-need,dont-need,no-reuse}",
      "metadata-hash-value": "record{lower:u64,upper:u64}",
      descriptor: "resource",
      "directory-entry-stream": "resource",
    },
    functions: {
      ...Object.fromEntries(
        Object.entries(DESCRIPTOR_METHODS).map(([name, [parameters, result]]) => [
          `[method]descriptor.${name}`,
          `(${["borrow<descriptor>", ...(parameters === "" ? [] : [parameters])].join(",")})->${result}`,
        ]),
      ),
      "[method]directory-entry-stream.read-directory-entry":
        "(borrow<directory-entry-stream>)->result<option<directory-entry>,error-code>",
      "filesystem-error-code": `(borrow<${ERROR}>)->option<error-code>`,
    },
  },
};

interface GrantedInterface {
  readonly types: ReadonlyMap<string, string>;
  readonly functions: ReadonlyMap<string, string>;
}

/** By their names without versions. Maps, so that what all objects have under `constructor` and its like is nothing here. */
export const GRANTED_INTERFACES: ReadonlyMap<string, GrantedInterface> = new Map(
  Object.entries({ ...CLI, ...IO, ...CLOCKS, ...RANDOM, ...FILES }).map(([name, { types = {}, functions = {} }]) => [
    name,
    { types: new Map(Object.entries(types)), functions: new Map(Object.entries(functions)) },
  ]),
);
