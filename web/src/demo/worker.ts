/** A program in a thread of its own, so that the page does not wait for it. */
import { format } from "./drivers";
import { type Answer, Program } from "./program";
import type { DemoFacts } from "./schema";

export type Request = { open: { wasm: Uint8Array<ArrayBuffer>; facts: DemoFacts } } | { format: string } | { memory: true };
/** What came of a request: what a program made of a text, or its memory; and how long that took. */
export type Reply = { ns: number; answer?: Answer; memory?: Uint8Array<ArrayBuffer> } | { error: string };

let module: WebAssembly.Module;
let facts: DemoFacts;
let program: Program;
let isUsed = false;

async function served(request: Request): Promise<Reply> {
  const begun_ms = performance.now();
  const taken = () => Math.round((performance.now() - begun_ms) * 1e6);
  if ("open" in request) {
    facts = request.open.facts;
    module = await WebAssembly.compile(request.open.wasm);
    program = await Program.open(module, facts);
    return { ns: taken() };
  }
  if ("memory" in request) return { ns: 0, memory: new Uint8Array(program.memory.slice(0)) };
  if (isUsed && facts.starts_anew) program = await Program.open(module, facts);
  isUsed = true;
  try {
    const answer = format(program, request.format);
    return { ns: taken(), answer };
  } catch (error) {
    throw program.explained(error);
  }
}

addEventListener("message", (event: MessageEvent<Request>) => {
  served(event.data).then(
    (reply) => postMessage(reply, "memory" in reply && reply.memory ? { transfer: [reply.memory.buffer] } : {}),
    (error: unknown) => postMessage({ error: error instanceof Error ? error.message : String(error) }),
  );
});
