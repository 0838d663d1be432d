/** A program and its host, from its start until somebody has no more texts for it. */
import { Bridge } from "./bridge";
import type { DemoFacts } from "./schema";
import { Exit, World } from "./world";

const WASI = "wasi_snapshot_preview1";

/** What a program makes of a text, or says against it. */
export interface Answer {
  text: string;
  isRefusal: boolean;
}

export class Program {
  private constructor(
    readonly facts: DemoFacts,
    private readonly world: World,
    private readonly instance: WebAssembly.Instance,
  ) {}

  /** A new instance of a module, with a host of its own. */
  static async open(module: WebAssembly.Module, facts: DemoFacts): Promise<Program> {
    const guest = { memory: () => program.memory, resume: () => void program.call("resume") };
    const world = new World(guest.memory);
    furnish(world);
    const schedule = () => void program.call("go_scheduler");
    const offered = { ...new Bridge(facts, guest).imports(), ...runtime(facts, world, schedule) };
    const imports: WebAssembly.Imports = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      (imports[from] ??= {})[name] = from === WASI ? world.wasi(name) : offered[name]!;
    }
    const program = new Program(facts, world, await WebAssembly.instantiate(module, imports));
    program.start();
    return program;
  }

  get memory(): ArrayBuffer {
    return (this.instance.exports.memory as WebAssembly.Memory).buffer;
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory, address, length);
  }

  has(name: string): boolean {
    return name in this.instance.exports;
  }

  /** The result of an exported function, as a number without a sign. */
  call(name: string, ...words: number[]): number {
    const callee = this.instance.exports[name];
    if (typeof callee !== "function") throw new Error(`the program has no function ${name}`);
    return callee(...words) >>> 0;
  }

  /** Lets it begin; it has ended, or waits for calls, afterwards. */
  private start(): void {
    const begins = ["_start", "_initialize"].find((name) => this.has(name));
    try {
      if (begins) this.call(begins);
    } catch (error) {
      if (!(error instanceof Exit && error.code === 0)) throw this.explained(error);
    }
  }

  /** What went wrong, with the last words of the program. */
  explained(error: unknown): Error {
    const words = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const output = this.world.output.trim();
    return new Error(output ? `${words}; the program wrote: ${output}` : words);
  }
}

/** The functions of TinyGo's runtime: the clock, and a sleep after which goroutines go on. */
function runtime(facts: DemoFacts, world: World, schedule: () => void): Record<string, WebAssembly.ImportValue> {
  return facts.ticks_in_nanoseconds
    ? {
        "runtime.ticks": () => BigInt(world.now_ns()),
        "runtime.sleepTicks": (ns: bigint) => void setTimeout(schedule, Number(ns) / 1e6),
      }
    : {
        "runtime.ticks": () => world.now_ns() / 1e6,
        "runtime.sleepTicks": (ms: number) => void setTimeout(schedule, ms),
      };
}

/** Puts into the global object what programs look for there, as far as a browser has it not, or has it at random. */
function furnish(world: World): void {
  const constants = { O_WRONLY: -1, O_RDWR: -1, O_CREAT: -1, O_TRUNC: -1, O_APPEND: -1, O_EXCL: -1, O_DIRECTORY: -1 };
  const crypto = { getRandomValues: (bytes: Uint8Array) => world.fill(bytes) };
  const found = { global: globalThis, fs: { constants }, process: { pid: -1, ppid: -1 }, crypto };
  for (const [name, value] of Object.entries(found)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
}
