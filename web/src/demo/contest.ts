/** Runs both modules on a text, taking turns, each in a thread of its own. */
import type { Answer } from "./program";
import type { DemoFacts } from "./schema";
import type { Reply, Request } from "./worker";
import Thread from "./worker?worker&inline";

/** Warm runs of each, and after which time there are no more. */
const MOST_ROUNDS = 7;
const LONGEST_MS = 20_000;

/** What one module came to; times in nanoseconds. */
export interface Result {
  /** To compile the module and start its program. */
  opened?: number;
  first?: number;
  /** Of the same program again, in the order of the runs. */
  warm: number[];
  answer?: Answer;
  /** All of it, after the last run. */
  memory?: Uint8Array<ArrayBuffer>;
  /** What went wrong; nothing more was asked of the program then. */
  error?: string;
}

export class Contest {
  readonly results: Result[];
  private readonly threads: Worker[];

  constructor(
    private readonly modules: Uint8Array<ArrayBuffer>[],
    private readonly facts: DemoFacts,
  ) {
    this.threads = modules.map(() => new Thread());
    this.results = modules.map(() => ({ warm: [] }));
  }

  /**
   * Everything, one after the other.
   *
   * @param text What is to be formatted.
   * @param told Is told what begins.
   */
  async run(text: string, told: (what: string) => void): Promise<Result[]> {
    told("Compiling both");
    await this.each((at) => ({ open: { wasm: this.modules[at]!, facts: this.facts } }), (result, reply) => (result.opened = reply.ns));
    told("First run");
    await this.each(() => ({ format: text }), (result, reply) => Object.assign(result, { first: reply.ns, answer: reply.answer }));
    const begun = performance.now();
    for (let round = 1; round <= MOST_ROUNDS && performance.now() - begun < LONGEST_MS; round++) {
      told(`Run ${round} of ${MOST_ROUNDS}`);
      await this.each(() => ({ format: text }), (result, reply) => result.warm.push(reply.ns));
    }
    await this.each(() => ({ memory: true }), (result, reply) => (result.memory = reply.memory));
    this.stop();
    return this.results;
  }

  /** Ends it; what is under way never comes to an end. */
  stop(): void {
    this.threads.forEach((thread) => thread.terminate());
  }

  /** Asks each program that is sound something, one after the other. */
  private async each(request: (at: number) => Request, take: (result: Result, reply: Exclude<Reply, { error: string }>) => void) {
    for (const [at, result] of this.results.entries()) {
      if (result.error !== undefined) continue;
      const reply = await ask(this.threads[at]!, request(at));
      if ("error" in reply) result.error = reply.error;
      else take(result, reply);
    }
  }
}

function ask(thread: Worker, request: Request): Promise<Reply> {
  return new Promise((resolve) => {
    thread.onmessage = (event: MessageEvent<Reply>) => resolve(event.data);
    thread.onerror = (event) => resolve({ error: event.message || "this browser does not run threads in this page" });
    thread.postMessage(request);
  });
}

/** The middle one; of two, the mean. */
export function median(values: number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}
