/** How families of formatters want to be called, as `tinyheap.formatters` has it: learned from programs. */
import type { Answer, Program } from "./program";

type Driver = (program: Program, text: string) => Answer;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Formats a text by the convention that the page's data names. */
export function format(program: Program, text: string): Answer {
  return DRIVERS[program.facts.driver]!(program, text);
}

const DRIVERS: Record<string, Driver> = { script, reactor, "sh-syntax": shSyntax };

/** A program that leaves the function `format` in the global object, which returns whether it refuses, and a text. */
function script(_: Program, text: string): Answer {
  const { format } = globalThis as { format?: (text: string) => unknown };
  if (typeof format !== "function") {
    throw new Error("this program has left no function format in the global object, so that the page cannot call it");
  }
  const result = format(text);
  if (!Array.isArray(result) || typeof result[1] !== "string") throw new Error(`the program's function format returned ${result}`);
  return { text: result[1], isRefusal: Boolean(result[0]) };
}

/** A program that is given a text in a buffer of its own, and says where the result is. */
function reactor(program: Program, text: string): Answer {
  const data = encoder.encode(text);
  program.bytes(program.call("alloc", data.length), data.length).set(data);
  const verdict = program.call("format");
  const found = verdict === 0 ? text : decoder.decode(program.bytes(program.call("output_ptr"), program.call("output_len")).slice());
  program.call("dispose");
  return { text: found, isRefusal: verdict > 1 };
}

/** sh-syntax: slices for what goes in, a text that ends with zero comes out, with JSON in it. */
function shSyntax(program: Program, text: string): Answer {
  const handles: number[] = [];
  const words: Record<string, number> = {};
  for (const [name, value] of Object.entries({ path: "script.sh", source: text, stop_at: "" })) {
    const data = encoder.encode(value);
    const handle = program.call("wasmAlloc", data.length);
    handles.push(handle);
    // The handle is a slice, whose first word is the buffer's address.
    words[name] = new DataView(program.memory).getUint32(handle, true);
    words[`${name}_bytes`] = data.length;
    program.bytes(words[name], data.length).set(data);
  }
  const numbers = program.facts.process_arguments.map((word) => (typeof word === "number" ? word : words[word]!));
  const start = program.call("process", ...numbers);
  handles.forEach((handle) => program.call("wasmFree", handle));
  const end = new Uint8Array(program.memory).indexOf(0, start);
  return said(JSON.parse(decoder.decode(program.bytes(start, end - start).slice())));
}

function said(answer: { text?: string; message?: string; parseError?: { Text?: string } | null }): Answer {
  const refusal = answer.parseError?.Text || answer.message;
  return { text: refusal || (answer.text ?? ""), isRefusal: Boolean(refusal) };
}
