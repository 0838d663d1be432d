/* Collects the logs of WebAssembly modules that `tinyheap instrument` made, in a browser or node:
 *
 *     const log = new HeapLog(instance);       // after the module was instantiated
 *     ...                                      // let the program run
 *     log.download("run.log");                 // in a browser; in node: await log.save("run.log")
 *
 * and then `tinyheap import run.log --module MODULE` makes a recording.  Where a library makes the instances itself:
 *
 *     watch((log) => { ... });                 // before the library makes any; called with the log of each instance
 *
 * No dependencies; any engine that runs the module runs this.  In node its name has to end in .mjs where package.json does not
 * say "type": "module".
 */

const TAKE = "tinyheap.take";
const MEMORY = "tinyheap.log_memory";
const HEADER_BYTES = 48;
const SIZE_AT = 24;
const LOST_AT = 28;

/** Whether an instance is of a module that `tinyheap instrument` made. */
export function isInstrumented(instance) {
  return typeof instance.exports[TAKE] === "function";
}

/** The log of one instance, as far as it was taken. */
export class HeapLog {
  #instance;
  #chunks = [];

  /** @param {WebAssembly.Instance} instance of an instrumented module */
  constructor(instance) {
    if (!isInstrumented(instance)) {
      throw new TypeError(`this instance does not export ${TAKE}: expected one of a module that \`tinyheap instrument\` made`);
    }
    this.#instance = instance;
    /** How many records found no room; the log ends before the first of them. */
    this.lost = 0;
  }

  /** Take what was logged since the last time, which makes room for more; returns how many bytes that was. */
  take() {
    const { [TAKE]: take, [MEMORY]: memory } = this.#instance.exports;
    const address = take() >>> 0;
    const header = new DataView(memory.buffer, address, HEADER_BYTES);
    const size = header.getUint32(SIZE_AT, true);
    this.lost = header.getUint32(LOST_AT, true);
    this.#chunks.push(new Uint8Array(memory.buffer, address, HEADER_BYTES + size).slice());
    return size;
  }

  /** All of the log up to now, as parts of one file. */
  parts() {
    this.take();
    return [...this.#chunks];
  }

  /** All of the log up to now. */
  bytes() {
    const parts = this.parts();
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  /** Let the browser download all of the log up to now, as a file of this name. */
  download(name = "run.log") {
    const address = URL.createObjectURL(new Blob(this.parts(), { type: "application/octet-stream" }));
    const link = Object.assign(document.createElement("a"), { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  /** Write all of the log up to now into a file; for node. */
  async save(path = "run.log") {
    const { writeFile } = await import("node:fs/promises");
    await writeFile(path, this.bytes());
  }
}

/**
 * Have a log of every instance of an instrumented module that is made from now on, whoever makes it.
 *
 * @param {(log: HeapLog) => void} onLog called with the log of each instance, before its program runs
 * @returns {() => void} what ends that
 */
export function watch(onLog) {
  const { instantiate, instantiateStreaming, Instance } = WebAssembly;
  const see = (instance) => {
    if (isInstrumented(instance)) onLog(new HeapLog(instance));
    return instance;
  };
  const seeing = (make) =>
    async function (...given) {
      const made = await make.apply(WebAssembly, given);
      see(made instanceof Instance ? made : made.instance);
      return made;
    };
  WebAssembly.instantiate = seeing(instantiate);
  if (instantiateStreaming) WebAssembly.instantiateStreaming = seeing(instantiateStreaming);
  WebAssembly.Instance = new Proxy(Instance, {
    construct: (target, given, called) => see(Reflect.construct(target, given, called)),
  });
  return () => Object.assign(WebAssembly, { instantiate, instantiateStreaming, Instance });
}
