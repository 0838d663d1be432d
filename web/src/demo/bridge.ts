/**
 * The bridge between Go and JavaScript that TinyGo's programs import, as far as formatters use it.
 *
 * How each function is called says the page's data (`tinyheap.hosts.gojs.abi` has the words for it); what it does stands here.
 * In the *boxed* ABI references are numbers of 64 bits, in the *addressed* one addresses of such numbers.
 */
import { ValueTable } from "./references";
import type { BridgeFunction, DemoFacts } from "./schema";

type Word = number | bigint;
/** Where bytes lie in the program's memory. */
interface Place {
  address: number;
  length: number;
}

/** What the bridge needs of its program. */
export interface Guest {
  memory(): ArrayBuffer;
  /** Lets the program serve a call of one of its functions. */
  resume(): void;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export class Bridge {
  private readonly go = { _pendingEvent: null as unknown, _makeFuncWrapper: (id: unknown) => this.wrapper(id) };
  private readonly table = new ValueTable(globalThis, this.go);

  constructor(
    private readonly facts: DemoFacts,
    private readonly guest: Guest,
  ) {}

  /** The functions that the program imports, by the names that it has for them. */
  imports(): Record<string, WebAssembly.ImportValue> {
    return Object.fromEntries(this.facts.bridge.map((shape) => [`syscall/js.${shape.name}`, this.served(shape)]));
  }

  /** A function of Go's as one of JavaScript's. */
  private wrapper(id: unknown): (...args: unknown[]) => unknown {
    const { go, guest } = this;
    return function (this: unknown, ...args: unknown[]) {
      const event: { id: unknown; this: unknown; args: unknown[]; result?: unknown } = { id, this: this, args };
      go._pendingEvent = event;
      guest.resume();
      return event.result;
    };
  }

  private served(shape: BridgeFunction): (...words: Word[]) => Word | void {
    const does = this.functions[shape.name];
    if (!does) throw new Error(`the program asks for syscall/js.${shape.name}, which this page does not have`);
    const isStored = shape.result === "ref" && this.facts.is_addressed;
    const hasPointer = isStored || ["attempt", "prepared", "count"].includes(shape.result);
    return (...words) => {
      const rest = words.values();
      const pointer = hasPointer ? next(rest) : 0;
      const values = shape.parameters.map((kind) => this.decoded(kind, rest));
      if (shape.result === "attempt") return this.attempt(pointer, () => does(...values));
      return this.encoded(isStored ? "stored" : shape.result, pointer, does(...values));
    };
  }

  private decoded(kind: string, rest: Iterator<Word>): unknown {
    if (kind === "int") return Number(rest.next().value);
    if (kind === "ref" || kind === "handle") {
      const reference = this.facts.is_addressed ? this.view().getBigUint64(next(rest), true) : (rest.next().value as bigint);
      return kind === "handle" ? reference : this.table.unbox(reference);
    }
    const place: Place = { address: next(rest), length: next(rest) };
    if (kind === "text") return decoder.decode(this.bytes(place).slice());
    // The capacity of a slice.
    rest.next();
    return place;
  }

  private attempt(pointer: number, does: () => unknown): void {
    let [value, isResult] = [undefined as unknown, 1];
    try {
      value = does();
    } catch (thrown) {
      [value, isResult] = [thrown, 0];
    }
    this.store(pointer, value);
    this.view().setUint8(pointer + 8, isResult);
  }

  private encoded(kind: string, pointer: number, result: unknown): Word | void {
    switch (kind) {
      case "ref":
        return this.table.box(result);
      case "int":
        return result as number;
      case "stored":
        return this.store(pointer, result);
      case "prepared": {
        const bytes = result as Uint8Array;
        this.store(pointer, bytes);
        return this.view().setUint32(pointer + 8, bytes.length, true);
      }
      case "count":
        this.view().setUint32(pointer, Number(result ?? 0), true);
        return this.view().setUint8(pointer + 4, Number(result !== null));
    }
  }

  private readonly functions: Record<string, (...values: any[]) => unknown> = {
    finalizeRef: (reference: bigint) => this.table.release(reference),
    stringVal: (text: string) => text,
    valueGet: (place: object, key: string) => Reflect.get(place, key),
    valueSet: (place: object, key: string, value: unknown) => Reflect.set(place, key, value),
    valueDelete: (place: object, key: string) => Reflect.deleteProperty(place, key),
    valueIndex: (place: object, index: number) => Reflect.get(place, index),
    valueSetIndex: (place: object, index: number, value: unknown) => Reflect.set(place, index, value),
    valueCall: (place: object, name: string, list: Place) => Reflect.apply(Reflect.get(place, name), place, this.values(list)),
    valueInvoke: (callee: Function, list: Place) => Reflect.apply(callee, undefined, this.values(list)),
    valueNew: (callee: Function, list: Place) => Reflect.construct(callee, this.values(list)),
    valueLength: (value: { length: unknown }) => Math.trunc(Number(value.length)) || 0,
    valuePrepareString: (value: unknown) => encoder.encode(String(value)),
    valueLoadString: (prepared: Uint8Array, target: Place) => this.bytes(target).set(prepared),
    valueInstanceOf: (value: unknown, callee: Function) => Number(value instanceof callee),
    copyBytesToGo: (target: Place, source: unknown) => (isBytes(source) ? copy(this.bytes(target), source) : null),
    copyBytesToJS: (target: unknown, source: Place) => (isBytes(target) ? copy(target, this.bytes(source)) : null),
  };

  private values({ address, length }: Place): unknown[] {
    const view = this.view();
    return Array.from({ length }, (_, at) => this.table.unbox(view.getBigUint64(address + 8 * at, true)));
  }

  private store(address: number, value: unknown): void {
    this.view().setBigUint64(address, this.table.box(value), true);
  }

  private view(): DataView {
    return new DataView(this.guest.memory());
  }

  private bytes({ address, length }: Place): Uint8Array {
    return new Uint8Array(this.guest.memory(), address, length);
  }
}

function next(rest: Iterator<Word>): number {
  return Number(rest.next().value) >>> 0;
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array || value instanceof Uint8ClampedArray;
}

/** Copies as much as fits, and returns how much that is. */
function copy(target: Uint8Array, source: Uint8Array): number {
  const count = Math.min(target.length, source.length);
  target.set(source.subarray(0, count));
  return count;
}
